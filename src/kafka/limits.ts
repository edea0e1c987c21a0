/** Bounds of writes to Kafka, with their reasons. */
export const KAFKA_LIMITS = {
  /**
   * Bytes of one partition in one request; a batch of 2,000 usual readings is 0.6 MB. A single record may be larger.
   */
  requestBytesMax: 4 * 1024 * 1024
}

/**
 * The smallest `max.message.bytes` that the topics need: a refused packet is kept whole, and base64 makes it a third
 * larger.
 * @param packetBytesMax - the largest packet that a gateway accepts
 */
export function toMessageBytesMin (packetBytesMax: number): number {
  return Math.min(2 ** 31 - 1, Math.max(2 * KAFKA_LIMITS.requestBytesMax, Math.ceil(packetBytesMax * 1.5) + 65_536))
}
