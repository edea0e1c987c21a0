/** Frames in the format of server-sent events: WHATWG HTML, "Server-sent events", 9.2.5. */
import type { ReadingRow } from '../../db/rows.ts'

/** One event. JSON without white space holds no line end, so the data is one line. */
export function toFrame (type: string, epoch: string, sequence: number, json: string): string {
  return `event: ${type}\nid: ${epoch}-${sequence}\ndata: ${json}\n\n`
}

/** The first bytes of a stream. @param sequence - of the last event before it */
export function toPreamble (retryMs: number, epoch: string, sequence: number): string {
  return `: events follow\nretry: ${retryMs}\nid: ${epoch}-${sequence}\n\n`
}

/**
 * A comment, and an id that tells how far the listener has come. An id without data makes no event, but a browser sends
 * it in its next `Last-Event-ID`. So a listener whose device was silent for long gets no `missed` when it comes back.
 */
export function toHeartbeat (epoch: string, sequence: number): string {
  return `:\nid: ${epoch}-${sequence}\n\n`
}

/** The data of `reading`. `vitals` is JSON already, with every digit that was sent. */
export function toReadingJson ({ device, timeUs, vitals }: ReadingRow): string {
  return `{"deviceId":${JSON.stringify(device)},"timestamp":${timeUs / 1e6},"vitals":${vitals}}`
}

const POSITION = /^(\w+)-(\d{1,15})$/

/** A `Last-Event-ID`. @returns `null` for a text that is not the id of an event */
export function parseEventId (id: string): { epoch: string, sequence: number } | null {
  const [, epoch, sequence] = POSITION.exec(id) ?? []
  return epoch === undefined ? null : { epoch, sequence: Number(sequence) }
}
