/** Bounds of what goes to Kafka, with their reasons. */
export const KAFKA_LIMITS = {
  /** Records of one partition in one request; a batch of 2,000 usual readings is 0.6 MB. One record may be larger. */
  requestBytesMax: 4 * 1024 * 1024
}

/**
 * `max.message.bytes` that the topics need at least: a whole packet that was refused is a third larger in base64.
 * @param packetBytesMax - the largest packet that a gateway takes
 */
export function toMessageBytesMin (packetBytesMax: number): number {
  return Math.min(2 ** 31 - 1, Math.max(2 * KAFKA_LIMITS.requestBytesMax, Math.ceil(packetBytesMax * 1.5) + 65_536))
}
