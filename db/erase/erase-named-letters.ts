/**
 * Removes dead letters whose payload holds data of a device although neither their device nor their topic names it: a
 * reading that another device sent in its name, an array of several devices, a payload that could not be parsed. No
 * index finds them, so all letters are scanned in slices, each a short statement. PostgreSQL leaves out payloads that
 * cannot name the device. The others are examined here, a few at a time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { namesDevice } from './names-device.ts'
import type { Tables } from '../tables.ts'

/** Letters that PostgreSQL scans in one statement: 50 MB where each has the largest payload. */
const SLICE_LETTERS = 200
/** Payloads in our memory at a time: 2 MB where each has the largest size. */
const PAYLOADS_AT_ONCE = 8
/** Leaves the disk to ingest between two slices. */
const PAUSE_MS = 5

interface Slice {
  readonly lastId: string | null
  readonly candidates: string[] | null
}

/** @returns how many were removed */
export async function eraseNamedLetters (
  kysely: Kysely<Tables>, device: string, checkStop: () => void
): Promise<number> {
  let deleted = 0
  let after = '00000000-0000-0000-0000-000000000000'
  for (;;) {
    checkStop()
    const { lastId, candidates } = await selectSlice(kysely, device, after)
    for (let at = 0; at < (candidates?.length ?? 0); at += PAYLOADS_AT_ONCE) {
      const ids = candidates!.slice(at, at + PAYLOADS_AT_ONCE)
      const letters = await kysely.selectFrom('dead_letters').select(['id', 'payload']).where('id', 'in', ids).execute()
      const named = letters.filter(({ payload }) => namesDevice(payload, device)).map(({ id }) => id)
      if (named.length === 0) continue
      const { numDeletedRows } = await kysely.deleteFrom('dead_letters').where('id', 'in', named).executeTakeFirstOrThrow()
      deleted += Number(numDeletedRows)
    }
    if (lastId === null) return deleted
    after = lastId
    await sleep(PAUSE_MS)
  }
}

/** A backslash may begin an escape that stands for a character of the id. */
async function selectSlice (kysely: Kysely<Tables>, device: string, after: string): Promise<Slice> {
  const { rows: [row] } = await sql<Slice>`
    with slice as materialized (select id, payload from dead_letters where id > ${after}::uuid order by id limit ${SLICE_LETTERS})
    select (select id from slice order by id desc limit 1) as "lastId", array(
      select id::text from slice
      where position(${Buffer.from(device)}::bytea in payload) > 0 or position('\\x5c'::bytea in payload) > 0
      order by id) as candidates`.execute(kysely)
  return row!
}
