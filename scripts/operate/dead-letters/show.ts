import type { DeadLetterList, DeadLetterSummary, StoredDeadLetter } from '../../../schemas/dead-letter.ts'
import { isUtf8 } from 'node:buffer'
import { toPrintable, toTable } from '../../command-line/printable.ts'

const ERROR_WIDTH_MAX = 60
const HEX_BYTES_PER_LINE = 32

/** A list for a person. */
export function toListLines ({ total, resources }: DeadLetterList): string[] {
  if (resources.length === 0) return ['no dead letters match']
  const rows = resources.map((letter) => [
    letter.id, toTime(letter.receivedAt), letter.deviceId === null
      ? `(${toPrintable(letter.topic ?? 'HTTP')})`
      : toPrintable(letter.deviceId),
    letter.reason, String(letter.payloadBytes), toFirstError(letter)
  ])
  const lines = toTable([['ID', 'RECEIVED', 'DEVICE', 'REASON', 'BYTES', 'ERROR'], ...rows])
  return total > resources.length ? [...lines, `the newest ${resources.length} of ${total}; --limit ${total} shows all`] : lines
}

/** One letter, whole, for a person. */
export function toLetterLines (letter: StoredDeadLetter): string[] {
  const { payload } = letter
  const isText = isUtf8(payload)
  const fields: Array<[string, string | null]> = [
    [
      'id', letter.id
    ], ['received', toTime(letter.receivedAt)], ['transport', letter.transport], ['topic', letter.topic], ['client', letter.clientId],
    [
      'device', letter.deviceId
    ], ['reason', letter.reason], ...letter.errors.map(toErrorText).map((text): [string, string] => ['error', text])
  ]
  return [
    ...toTable(fields.map(([name, value]) => [name, value === null ? '-' : toPrintable(value)])),
    `payload (${payload.length} bytes, ${isText ? 'text' : 'hex'}):`,
    ...(isText ? toPrintable(payload.toString(), '\n\t').split('\n') : toHexLines(payload))
  ]
}

/** A fault as one line; the path of a whole payload is empty. */
export function toErrorText ({ path, message }: { path: string, message: string }): string {
  return path === '' ? message : `${path} ${message}`
}

function toFirstError ({ errors }: DeadLetterSummary): string {
  const [first] = errors
  if (first === undefined) return ''
  const text = toPrintable(toErrorText(first))
  const more = errors.length > 1 ? ` (+${errors.length - 1})` : ''
  return (text.length > ERROR_WIDTH_MAX ? `${text.slice(0, ERROR_WIDTH_MAX - 1)}…` : text) + more
}

function toTime (unixS: number): string {
  return new Date(unixS * 1000).toISOString()
}

function toHexLines (payload: Buffer): string[] {
  const lines: string[] = []
  for (let at = 0; at < payload.length; at += HEX_BYTES_PER_LINE) lines.push(payload.toString('hex', at, at + HEX_BYTES_PER_LINE))
  return lines
}
