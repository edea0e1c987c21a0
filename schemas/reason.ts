/** Why an input was not stored as a reading: dead letters, rejections and the metrics' `reason` label share this closed list. */
export const REASONS = [
  'invalid_json',
  'invalid_reading',
  'device_mismatch',
  'invalid_topic',
  'database_rejected'
] as const

export type Reason = typeof REASONS[number]

/** Reasons that only the metric `vital_readings_refused_total` knows: nothing was wrong with the input itself. */
const REFUSALS = ['unavailable', 'over_cap'] as const

export type RefusalReason = Reason | typeof REFUSALS[number]
