import type { LatestQuery } from '../../schemas/vital-data.ts'

/** JSON text: whole, or in parts that are fetched as the client takes them. `close` ends what they come from; it may be called again. */
export type ReadAnswer = string | { readonly parts: AsyncIterable<string>, readonly close: () => void }

/** What the GET routes ask of PostgreSQL. Rejects when it is away, within the pool's time-outs, and with `VITAL_READS_BUSY` when too much is asked of it. */
export interface Reads {
  /** @param isGone - whether the client has left; nothing large is read for one that has */
  listLatest (query: LatestQuery, isGone: () => boolean): Promise<ReadAnswer>
  /** `undefined` when no reading of that device was ever stored. */
  findLatest (device: string, isGone: () => boolean): Promise<ReadAnswer | undefined>
}

/** Counts bytes of an answer until the socket took them. @returns gives them back, once */
export type HoldBytes = (bytes: number) => () => void
