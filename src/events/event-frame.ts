/** What is sent, as the format of server-sent events has it: WHATWG HTML, "Server-sent events", 9.2.5. */
import type { ReadingRow } from '../../db/rows.ts'

/** One event. JSON has no line end in it, so the data is one line. */
export function toFrame (type: string, epoch: string, sequence: number, json: string): string {
  return `event: ${type}\nid: ${epoch}-${sequence}\ndata: ${json}\n\n`
}

/** The first bytes of a stream. @param sequence - of the last event before it */
export function toPreamble (retryMs: number, epoch: string, sequence: number): string {
  return `: events follow\nretry: ${retryMs}\nid: ${epoch}-${sequence}\n\n`
}

/**
 * A comment, and how far the listener has come: an id without data is no event, and a browser sends it in its next
 * `Last-Event-ID`. So the listener of a device that is silent for long is not told that it may have missed something.
 */
export function toHeartbeat (epoch: string, sequence: number): string {
  return `:\nid: ${epoch}-${sequence}\n\n`
}

/** The data of `reading`. `vitals` is JSON already, with every digit that was sent. */
export function toReadingJson ({ device, timeUs, vitals }: ReadingRow): string {
  return `{"deviceId":${JSON.stringify(device)},"timestamp":${timeUs / 1e6},"vitals":${vitals}}`
}

const POSITION = /^(\w+)-(\d{1,15})$/

/** A `Last-Event-ID`. @returns `null` for one that no gateway has given */
export function parseEventId (id: string): { epoch: string, sequence: number } | null {
  const [, epoch, sequence] = POSITION.exec(id) ?? []
  return epoch === undefined ? null : { epoch, sequence: Number(sequence) }
}
