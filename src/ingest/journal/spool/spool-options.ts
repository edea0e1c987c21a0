import type { SpoolContext } from './segment.ts'

export interface SpoolOptions extends SpoolContext {
  /**
   * Bound on disk, without damaged segments. Beyond it an append fails, and `pipeline.ts` stops reading from
   * publishers.
   */
  readonly bytesMax: number
  /** Size at which a new segment begins; space is freed in whole segments. */
  readonly segmentBytes?: number
  /** Unix milliseconds. */
  readonly nowMs?: () => number
}
