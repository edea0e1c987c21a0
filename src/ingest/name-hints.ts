import type { Logger } from 'pino'
import type { ReadingRow } from '../../db/rows.ts'
import { toKnownName } from '../../schemas/near-names.ts'

/** Number of names remembered as checked; a remembered name costs one look-up. */
const SEEN_MAX = 1000
/** Bound on log lines while a gateway runs, because clients choose the names. */
const HINTS_MAX = 100
/** A reading may hold a thousand names, an array a thousand readings. */
const NAMES_PER_MESSAGE_MAX = 100

/**
 * Logs once each field whose name is nearly that of a vital sign (`heart_rate`): such a reading is valid, and its field
 * is kept as an unknown one. At most one message a millisecond is checked: all of them at a low rate, and one in a
 * hundred at full rate. A device that always uses such a name is soon found.
 */
export function createNameHints (logger: Logger) {
  const seen = new Set<string>()
  const hinted = new Set<string>()
  let lookedAtMs = 0

  function look (rows: readonly ReadingRow[]): void {
    let names = 0
    for (const { device, fields } of rows) {
      for (const name in fields) {
        if (++names > NAMES_PER_MESSAGE_MAX) return
        if (seen.has(name)) continue
        if (seen.size >= SEEN_MAX) seen.clear()
        seen.add(name)
        const known = toKnownName(name)
        if (known === null || hinted.has(name) || hinted.size >= HINTS_MAX) continue
        hinted.add(name)
        logger.warn({ name, known, device }, 'a reading has a field with nearly the name of a vital sign; it is ' +
          'stored under the name that was sent')
      }
    }
  }

  return {
    /** Different names logged so far. */
    count: () => hinted.size,
    /** @param receivedAtMs - Unix milliseconds */
    observe (rows: readonly ReadingRow[], receivedAtMs: number): void {
      if (receivedAtMs === lookedAtMs) return
      lookedAtMs = receivedAtMs
      look(rows)
    }
  }
}

export type NameHints = ReturnType<typeof createNameHints>
