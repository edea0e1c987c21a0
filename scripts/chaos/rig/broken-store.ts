/** Defects of the store that the checkers must find: a checker that was never seen red proves nothing. */
import { openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReadingRow } from '../../../db/rows.ts'
import type { Store } from '../../../db/store.ts'
import type { Break } from './injection.ts'

/** How far an acknowledgement out of memory is ahead of the disk. */
export const EARLY_MS = 60
/** Kept with each write; in total more than the harness allows, and no more than a small machine has. */
const LEAK_BYTES = 4 * 1024 * 1024
const LEAK_BYTES_MAX = 1024 * 1024 * 1024
const LEAK_DESCRIPTORS_MAX = 300

export function breakStore (store: Store, breaks: Break | undefined): Store {
  switch (breaks) {
    case 'early-ack': return {
      async write (readings, letters, timeoutMs) {
        sleep(EARLY_MS).then(() => store.write(readings, letters, timeoutMs)).catch(() => {})
        return { duplicates: [] }
      }
    }
    case 'store-twice': return {
      async write (readings, letters, timeoutMs) {
        const { duplicates } = await store.write([...readings, ...readings.map(toTwin)], letters, timeoutMs)
        return { duplicates: duplicates.filter((index) => index < readings.length) }
      }
    }
    // Without the times of their values, which decide what is the latest.
    case 'stale-latest': return {
      write: (readings, letters, timeoutMs) => store.write(readings.map((row) => ({
        ...row, fields: {}
      })), letters, timeoutMs)
    }
    case 'leak': return leak(store)
    case 'miscount': return {
      async write (readings, letters, timeoutMs) {
        await store.write(readings, letters, timeoutMs)
        return { duplicates: [] }
      }
    }
    case 'no-fsync':
    case 'bad-exit':
    case 'refuse-unstored':
    case 'ack-before-redis':
    case 'ack-when-lapsed':
    case 'drop-wills':
    case 'acks-one':
    case 'offset-before-rows':
    case 'no-epoch':
    case 'skip-plan':
    case 'offset-before-points':
    case 'count-twice':
    case 'no-identity':
    case 'keep-nothing':
    case 'trust-replica':
    case 'any-age':
    case undefined: return store
  }
}

/** The same reading under another identity. */
function toTwin (row: ReadingRow): ReadingRow {
  return { ...row, hash: [...row.hash].reverse().join('') }
}

function leak (store: Store): Store {
  const kept: Buffer[] = []
  let descriptors = 0
  return {
    async write (readings, letters, timeoutMs) {
      if (kept.length * LEAK_BYTES < LEAK_BYTES_MAX) kept.push(Buffer.alloc(LEAK_BYTES, 1))
      if (descriptors++ < LEAK_DESCRIPTORS_MAX) openSync('/dev/null', 'r')
      return await store.write(readings, letters, timeoutMs)
    }
  }
}
