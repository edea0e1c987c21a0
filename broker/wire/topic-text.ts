/** Topic names and topic filters (MQTT 3.1.1 and 5, §4.7), checked where their bytes lie. */
import { isText } from './fields.ts'

const PLUS = 0x2b
const SHARP = 0x23
const SLASH = 0x2f

export type WrongTopic = 'topic_empty' | 'text' | 'topic_wildcard'
export type WrongFilter = 'topic_empty' | 'text' | 'filter_wildcard'

/** @returns the rule that a topic name breaks, or `null` */
export function checkTopic (bytes: Uint8Array, start: number, end: number): WrongTopic | null {
  if (start === end) return 'topic_empty'
  if (!isText(bytes, start, end)) return 'text'
  for (let at = start; at < end; at++) {
    const byte = bytes[at]
    if (byte === PLUS || byte === SHARP) return 'topic_wildcard'
  }
  return null
}

/**
 * A wildcard is the only character of its level, and `#` stands in the last level only.
 * @returns the rule that a topic filter breaks, or `null`
 */
export function checkFilter (bytes: Uint8Array, start: number, end: number): WrongFilter | null {
  if (start === end) return 'topic_empty'
  if (!isText(bytes, start, end)) return 'text'
  for (let at = start; at < end; at++) {
    const byte = bytes[at]
    if (byte !== PLUS && byte !== SHARP) continue
    if (at > start && bytes[at - 1] !== SLASH) return 'filter_wildcard'
    if (byte === SHARP ? at + 1 < end : at + 1 < end && bytes[at + 1] !== SLASH) return 'filter_wildcard'
  }
  return null
}
