import type { SpoolContext } from './segment.ts'

export interface SpoolOptions extends SpoolContext {
  /** Bound on disk, damaged segments aside; beyond, an append fails and `pipeline.ts` stops reading from publishers. */
  readonly bytesMax: number
  /** Size at which a new segment begins; the unit in which space is given back. */
  readonly segmentBytes?: number
  /** Unix milliseconds. */
  readonly nowMs?: () => number
}
