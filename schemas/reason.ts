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
 * Reasons of the metric `vital_readings_refused_total`. It also counts valid readings that were not kept.
 */
export type RefusalReason = Reason | 'unavailable' | 'over_cap' | 'erased'
