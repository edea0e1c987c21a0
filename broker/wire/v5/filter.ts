/** Topic filters of SUBSCRIBE and UNSUBSCRIBE (MQTT 5 §4.7, §4.8.2). */
import { checkFilter } from '../topic-text.ts'
import type { Cursor } from './cursor.ts'
import { PacketError } from './packet-error.ts'

const SHARE = '$share/'

/**
 * Reads a filter, which may be a shared one: `$share/{name}/{filter}`.
 *
 * A malformed filter or share closes the connection, as in MQTT 3.1.1. SUBACK 0x8F would be wrong: it is for a filter that
 * "is correctly formed but is not allowed for this Client" (§3.9.3).
 * @throws PacketError
 */
export function toFilter (cursor: Cursor): { readonly filter: string, readonly isShared: boolean } {
  const start = cursor.field()
  const { bytes, at: end } = cursor
  const wrong = checkFilter(bytes, start, end)
  if (wrong !== null) throw new PacketError(wrong)
  const filter = bytes.toString('utf8', start, end)
  const isShared = filter.startsWith(SHARE)
  if (isShared && !isShare(filter)) throw new PacketError('share')
  return { filter, isShared }
}

/** @param filter - that begins with `$share/`, and whose wildcards stand where they may */
function isShare (filter: string): boolean {
  const nameEnd = filter.indexOf('/', SHARE.length)
  const name = filter.slice(SHARE.length, nameEnd)
  return nameEnd > SHARE.length && nameEnd + 1 < filter.length && name !== '+' && name !== '#'
}
