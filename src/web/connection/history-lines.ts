/** The lines of a history. */

/** Numbers of one field in a bucket. */
interface Summary {
  readonly min: number
  readonly max: number
  readonly mean: number
}

export interface HistoryReading {
  readonly timestamp: number
  readonly vitals: Readonly<Record<string, unknown>>
}

export interface HistoryBucket {
  readonly from: number
  readonly to: number
  readonly vitals: Readonly<Record<string, Summary>>
}
