import { randomBytes } from 'node:crypto'
import { Random } from '../random.ts'
import type { Kind } from '../checks/ledger-file.ts'
import type { PublisherSettings } from './messages.ts'

/** The field that a CHECK constraint of the fault `poison-rows` refuses; only the database knows it. */
export const POISON_FIELD = 'poison'

/** Five digits and a comma. */
const WAVEFORM_SAMPLE_BYTES = 6
/** Numbers, as monitors send them; PostgreSQL takes longer for numbers than for text. */
export const WAVEFORM_FIELD = 'waveform'

const POISONS: ReadonlyArray<(n: number) => string> = [
  (n) => `{"note":"a \\u0000 in it","n":${n}}`,
  (n) => `{"heartRateValue":1e400,"n":${n}}`,
  (n) => `{"${POISON_FIELD}":true,"n":${n}}`
]

/** One reading as a device sends it. */
export interface MadeUpReading {
  readonly n: number
  readonly timestamp: number
  readonly kind: Kind
  /** JSON, without device and timestamp. */
  readonly fields: string
}

/**
 * Readings of one device, made to be hard on the latest state: fields that come rarely, times out of order, two readings
 * of one instant.
 */
export function createReadings (
  { seed, invalidShare, poisonShare, blobBytes, waveformBytesMin, waveformBytesMax, waveformShare, numbering }: Pick<PublisherSettings,
  'seed' | 'invalidShare' | 'poisonShare' | 'blobBytes' | 'waveformBytesMin' | 'waveformBytesMax' | 'waveformShare' | 'numbering'>
) {
  const random = new Random(seed)
  const chance = (share: number) => random.between(0, 1) < share
  let next = numbering.first
  let lastTimestamp = 0

  function makeWaveform (bytes: number): number[] {
    return Array.from({ length: Math.floor(bytes / WAVEFORM_SAMPLE_BYTES) }, () => Math.floor(random.between(10_000, 99_999)))
  }

  function make (isSmall = false): MadeUpReading {
    const n = next
    next += numbering.step
    const now = Date.now() * 1000 + Math.floor(random.between(0, 1000))
    const timestamp = lastTimestamp > 0 && chance(0.02)
      ? lastTimestamp
      : (chance(0.05) ? now - Math.floor(random.between(0, 3.6e9)) : now) / 1e6
    lastTimestamp = timestamp
    if (chance(invalidShare)) return { n, timestamp, kind: 'letter', fields: JSON.stringify({ heartRateValue: 'high', n }) }
    if (chance(poisonShare)) return { n, timestamp, kind: 'letter', fields: POISONS[Math.floor(random.between(0, POISONS.length))]!(n) }
    const fields = {
      heartRateValue: Math.floor(random.between(400, 1800)) / 10,
      ...(chance(0.3) ? { breathRateValue: Math.floor(random.between(8, 30)) } : {}),
      ...(chance(0.05) ? { breathValue: Math.floor(random.between(8, 30)) } : {}),
      ...(chance(0.1) ? { temperatureValue: Math.floor(random.between(3500, 4000)) / 100 } : {}),
      ...(chance(0.05) ? { note: { text: 'a ward ✓ "quoted"', values: [1, null, false] } } : {}),
      ...(!isSmall && waveformBytesMax > 0 && chance(waveformShare)
        ? { [WAVEFORM_FIELD]: makeWaveform(waveformBytesMin * (waveformBytesMax / waveformBytesMin) ** random.between(0, 1)) }
        : {}),
      ...(blobBytes > 0 ? { blob: randomBytes(blobBytes).toString('base64') } : {}),
      n
    }
    return { n, timestamp, kind: 'reading', fields: JSON.stringify(fields) }
  }

  return { make }
}

/** @param device - named inside the payload when given, as HTTP needs it */
export function toPayload (readings: readonly MadeUpReading[], device?: string): Buffer {
  const name = device === undefined ? '' : `"device":${JSON.stringify(device)},`
  const objects = readings.map(({ timestamp, fields }) => `{${name}"timestamp":${timestamp},${fields.slice(1)}`)
  return Buffer.from(objects.length === 1 ? objects[0]! : `[${objects.join(',')}]`)
}
