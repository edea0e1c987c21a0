import type { DeadLetterRow } from '../../../db/rows.ts'
import { namesDevice } from '../../../db/erase/names-device.ts'
import { toReplayed } from './replay-set.ts'
import type { Submission } from '../submission.ts'

/** @returns the part of a message that is of none of these devices: itself where that is all, `null` where it is nothing */
export function withoutErased (submission: Submission, devices: readonly string[]): Submission | null {
  if (devices.length === 0) return submission
  const readings = submission.readings.filter(({ device }) => !devices.includes(device))
  const letters = submission.letters.filter((letter) => !devices.some((device) => isOf(letter, device)))
  const units = readings.length + letters.length
  if (units === submission.units) return submission
  return units === 0 ? null : toReplayed({ transport: submission.transport, clientId: submission.clientId, readings, letters })
}

/** Whether a dead letter is a device's, or names it: as db/erase judges those in PostgreSQL. */
export function isOf (
  { device: owner, reason, clientId, topic, payload }: Pick<DeadLetterRow, 'device' | 'reason' | 'clientId' | 'topic' | 'payload'>,
  device: string
): boolean {
  const isMisdirected = owner === null || reason === 'invalid_topic'
  if (isMisdirected && (clientId === device || topic?.split('/').some((level) => level.trim() === device) === true)) return true
  return owner === device || namesDevice(payload, device)
}
