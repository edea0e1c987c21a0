/**
 * The reading that the bench sends: every number has a fixed width, so that the next reading is written over the last
 * one, digit by digit, in the packet that already exists. Encoding JSON and MQTT anew would make the generator,
 * not the gateway, the limit.
 */
const READING = '{"timestamp":0000000000.000000,"heartRateValue":60.0,' +
  '"breathRateValue":10.0,"spo2Value":90.0,"temperatureValue":35.00}'

const SECONDS_AT = READING.indexOf('0000000000')
const MICROSECONDS_AT = SECONDS_AT + 11
const HEART_AT = READING.indexOf('60.0')
const BREATH_AT = READING.indexOf('10.0', HEART_AT + 4)
const SPO2_AT = READING.indexOf('90.0')
const TEMPERATURE_AT = READING.indexOf('35.00')

const ZERO = 48

/** Bytes of one reading without a device. */
export const READING_BYTES = READING.length

/**
 * A payload to write readings into, and where each begins.
 * @param readings - 1 gives an object, more give an array
 * @param device - named inside the payload when given, as HTTP needs it
 */
export function createPayload (readings: number, device?: string): { payload: Buffer, readingsAt: number[] } {
  const tail = device === undefined ? READING : `${READING.slice(0, -1)},"device":${JSON.stringify(device)}}`
  if (readings === 1) return { payload: Buffer.from(tail), readingsAt: [0] }
  const readingsAt = Array.from({ length: readings }, (_, index) => 1 + index * (Buffer.byteLength(tail) + 1))
  return { payload: Buffer.from(`[${Array.from({ length: readings }, () => tail).join(',')}]`), readingsAt }
}

/** Writes `value` as `width` decimal digits, with leading zeros. */
export function writeDigits (bytes: Uint8Array, at: number, width: number, value: number): void {
  for (let index = at + width - 1; index >= at; index--) {
    const rest = (value / 10) | 0
    bytes[index] = ZERO + value - rest * 10
    value = rest
  }
}

/**
 * Writes time and values of a new reading over the one at `at`.
 * @param timeUs - Unix microseconds; a double of seconds still distinguishes neighbours (its step is 0.24 µs until
 * 2038)
 * @param random - 32 bits from which the values' digits are drawn
 */
export function writeReading (bytes: Buffer, at: number, timeUs: number, random: number): void {
  const seconds = Math.floor(timeUs / 1e6)
  writeDigits(bytes, at + SECONDS_AT, 10, seconds)
  writeDigits(bytes, at + MICROSECONDS_AT, 6, timeUs - seconds * 1e6)
  bytes[at + HEART_AT] = ZERO + 6 + (random & 3)
  bytes[at + HEART_AT + 1] = ZERO + ((random >>> 2) & 7)
  bytes[at + HEART_AT + 3] = ZERO + ((random >>> 5) & 7)
  bytes[at + BREATH_AT + 1] = ZERO + ((random >>> 8) & 7)
  bytes[at + BREATH_AT + 3] = ZERO + ((random >>> 11) & 7)
  bytes[at + SPO2_AT + 1] = ZERO + ((random >>> 14) & 7)
  bytes[at + SPO2_AT + 3] = ZERO + ((random >>> 17) & 7)
  bytes[at + TEMPERATURE_AT + 1] = ZERO + 5 + ((random >>> 20) & 3)
  bytes[at + TEMPERATURE_AT + 3] = ZERO + ((random >>> 22) & 7)
  bytes[at + TEMPERATURE_AT + 4] = ZERO + ((random >>> 25) & 7)
}
