import type { DeadLetterRow } from '../../../db/rows.ts'
import { namesDevice } from '../../../db/erase/names-device.ts'
import { toReplayed } from './replay-set.ts'
import type { Submission } from '../submission.ts'

/**
 * @returns the message without readings and letters of these devices; the same object if it has none, `null` if none is
 *   left
 */
export function withoutErased (submission: Submission, devices: readonly string[]): Submission | null {
  if (devices.length === 0) return submission
  const readings = submission.readings.filter(({ device }) => !devices.includes(device))
  const letters = submission.letters.filter((letter) => !devices.some((device) => isOf(letter, device)))
  const units = readings.length + letters.length
  if (units === submission.units) return submission
  return units === 0 ? null : toReplayed({ transport: submission.transport, clientId: submission.clientId, readings, letters })
}

/** Whether a dead letter belongs to a device or names it, by the rules of db/erase. */
export function isOf (
  { device: owner, reason, clientId, topic, payload }: Pick<DeadLetterRow, 'device' | 'reason' | 'clientId' | 'topic' | 'payload'>,
  device: string
): boolean {
  const isMisdirected = owner === null || reason === 'invalid_topic'
  if (isMisdirected && (clientId === device || topic?.split('/').some((level) => level.trim() === device) === true)) return true
  return owner === device || namesDevice(payload, device)
}
