import type { Logger } from 'pino'
import type { Disk } from './disk.ts'

export interface SpoolOptions {
  readonly directory: string
  /** Bound on disk, damaged segments aside; beyond, an append fails and `pipeline.ts` stops reading from publishers. */
  readonly bytesMax: number
  /** Size at which a new segment begins; the unit in which space is given back. */
  readonly segmentBytes?: number
  readonly disk: Disk
  readonly logger: Logger
  /** Unix milliseconds. */
  readonly nowMs?: () => number
}
