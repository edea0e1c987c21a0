/**
 * The cursor of `GET /vital-data`: where a page ended, and the moment in which its walk began, as base64url of JSON.
 *
 * By `deviceId` the id is enough. By another sort key a device that moves could come twice, so a device that changed
 * since the walk began is left out: in memory by the moment in which its value changed, in PostgreSQL by the
 * transaction that wrote its row. A cursor carries both, because the next page may come from either, and from another
 * gateway.
 */
import { createHash } from 'node:crypto'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import type { Keyset } from '../../../db/queries/latest-search.ts'
import { isStoredDeviceId } from '../../../schemas/device-id.ts'
import { type LatestQuery, toDurationS } from '../../../schemas/vital-data.ts'

export interface LatestCursor extends Keyset {
  /** Where the walk began in memory; `null` where it began in PostgreSQL. */
  readonly walk: Walk | null
}

/** A moment of one filling of the order of devices. */
export interface Walk {
  readonly orderId: string
  readonly moment: number
}

/** The cursor does not belong to this query. */
class InvalidCursorError extends Error {
  readonly code = 'VITAL_INVALID_CURSOR'
}

const whole = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])

const content = Compile(Type.Object({
  query: Type.String(),
  key: orNull(Type.Number()),
  device: Type.String(),
  snapshot: orNull(Type.Object({ xmax: whole, xip: Type.Array(whole) })),
  walk: orNull(Type.Object({ orderId: Type.String(), moment: whole }))
}))

/** Identifies the query of a cursor: all of it but the size and the start of the page. */
function digest ({ sortBy, orderBy, prefix, silentFor }: LatestQuery): string {
  const silentForS = silentFor === undefined ? null : toDurationS(silentFor)
  const text = JSON.stringify([sortBy, orderBy, prefix, silentForS])
  return createHash('sha256').update(text).digest('base64url').slice(0, 11)
}

export function encodeCursor (query: LatestQuery, cursor: LatestCursor): string {
  return Buffer.from(JSON.stringify({ query: digest(query), ...cursor })).toString('base64url')
}

/** @throws InvalidCursorError for a cursor that is damaged, or of another query */
export function decodeCursor (query: LatestQuery, text: string): LatestCursor {
  const cursor = parse(text)
  if (!content.Check(cursor) || cursor.query !== digest(query)) throw new InvalidCursorError()
  const { key, device, snapshot, walk } = cursor
  // By another sort key a cursor holds the snapshot of its walk, and times are whole microseconds.
  const isComplete = query.sortBy === 'deviceId' || snapshot !== null
  const isTime = query.sortBy !== 'timestamp' || Number.isSafeInteger(key)
  if (!isStoredDeviceId(device) || !isComplete || !isTime) throw new InvalidCursorError()
  return { key, device, snapshot, walk }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString())
  } catch {
    return undefined
  }
}
