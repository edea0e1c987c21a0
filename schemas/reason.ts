/**
 * Why an input was not stored as a reading: dead letters, rejections and the metrics' `reason` label share this closed
 * list.
 */
export const REASONS = [
  'invalid_json',
  'invalid_reading',
  'device_mismatch',
  'invalid_topic',
  'database_rejected'
] as const

export type Reason = typeof REASONS[number]

/**
 * Of the metric `vital_readings_refused_total`, which also counts what nothing was wrong with: it could not be kept.
 */
export type RefusalReason = Reason | 'unavailable' | 'over_cap' | 'erased'
