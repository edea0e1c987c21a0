import { isUtf8 } from 'node:buffer'
import type { Fault } from '../../schemas/fault.ts'
import { READINGS_PER_ARRAY_MAX, type VitalSign } from '../../schemas/reading.ts'
import type { FieldReadings } from '../ingest/decode-fields.ts'
import { MalformedMessage, MessageReader, toTag, WIRE } from './wire.ts'

/** One request, as schemas/vital/v1/ingest.proto has it. */
export interface PublishRequest {
  readonly number: number | bigint
  readonly readings: FieldReadings | { readonly fault: Fault }
}

const NUMBER = toTag(1, WIRE.varint)
const READINGS = toTag(2, WIRE.bytes)
const DEVICE = toTag(1, WIRE.bytes)
const OTHER = toTag(15, WIRE.bytes)

/** Field number in `Reading` → the name in JSON. */
export const READING_FIELDS: ReadonlyMap<number, 'timestamp' | VitalSign> = new Map([
  [2, 'timestamp'],
  [3, 'heartRateValue'],
  [4, 'breathRateValue'],
  [5, 'breathValue'],
  [6, 'pulseRateValue'],
  [7, 'bloodPressureSystolic'],
  [8, 'bloodPressureDiastolic'],
  [9, 'spo2Value'],
  [10, 'temperatureValue']
])

/** The same by its tag, without a hash for each field. */
const NAMES: ReadonlyArray<string | undefined> = Array.from({ length: 128 }, (_, tag) =>
  (tag & 7) === WIRE.fixed64 ? READING_FIELDS.get(tag >> 3) : undefined)

/** The fault of a request whose fields cannot all be taken. */
class RequestFault extends MalformedMessage {
  readonly fault: Fault

  constructor (path: string, message: string) {
    super()
    this.fault = { path, message }
  }
}

const NO_OTHERS: ReadonlyMap<number, Buffer> = new Map()

/**
 * Bytes → request. Written by hand: protobufjs, which @grpc/proto-loader uses, keeps a uint64 as a double and drops
 * fields that it does not know, which would be lost with a reading that is acknowledged.
 * @returns with a fault where the bytes are not a request, or hold a field that this gateway does not know
 */
export function decodeRequest (bytes: Buffer): PublishRequest {
  const reader = new MessageReader(bytes)
  const fields: Array<Record<string, unknown>> = []
  let others: Map<number, Buffer> | null = null
  let number: number | bigint = 0
  try {
    while (!reader.isAtEnd) {
      const tag = reader.readUint32()
      if (tag === READINGS) {
        // One more than are allowed is enough to refuse them.
        if (fields.length > READINGS_PER_ARRAY_MAX) {
          reader.skip(WIRE.bytes)
          fields.length++
          continue
        }
        const outer = reader.enter()
        const other = readReading(reader, fields)
        if (other !== null) (others ??= new Map()).set(fields.length - 1, other)
        reader.leave(outer)
      } else if (tag === NUMBER) number = reader.readVarint()
      else throw unknownField(tag, '')
    }
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error
    const fault = error instanceof RequestFault ? error.fault : { path: '', message: error.message }
    return { number: readNumber(bytes), readings: { fault } }
  }
  return { number, readings: { fields, others: others ?? NO_OTHERS } }
}

/** Adds a reading to `fields`. @returns the bytes of its other fields */
function readReading (reader: MessageReader, fields: Array<Record<string, unknown>>): Buffer | null {
  const reading: Record<string, unknown> = {}
  const path = fields.push(reading) - 1
  let other: Buffer | null = null
  while (!reader.isAtEnd) {
    const tag = reader.readUint32()
    const name = NAMES[tag]
    if (name !== undefined) {
      if (reading[name] !== undefined) throw new RequestFault(`/${path}/${name}`, 'is given twice')
      reading[name] = reader.readDouble()
    } else if (tag === DEVICE) {
      if (reading['device'] !== undefined) throw new RequestFault(`/${path}/device`, 'is given twice')
      const device = reader.readBytes()
      if (!isUtf8(device)) throw new RequestFault(`/${path}/device`, 'must be UTF-8')
      reading['device'] = device.toString()
    } else if (tag === OTHER) {
      if (other !== null) throw new RequestFault(`/${path}/other`, 'is given twice')
      other = reader.readBytes()
    } else throw unknownField(tag, `/${path}`)
  }
  return other === null || other.length === 0 ? null : other
}

function unknownField (tag: number, path: string): RequestFault {
  const field = tag >>> 3
  const isKnown = path !== '' && (field === 1 || field === 15 || READING_FIELDS.has(field))
  return new RequestFault(path, isKnown || (path === '' && (field === 1 || field === 2))
    ? `holds field ${field} with another type than in vital/v1/ingest.proto`
    : `holds field ${field}, which this gateway does not know and could not keep; send it in other`)
}

/** The number of a request that is not decoded otherwise; 0 where it has none. */
export function readNumber (bytes: Buffer): number | bigint {
  const reader = new MessageReader(bytes)
  let number: number | bigint = 0
  try {
    while (!reader.isAtEnd) {
      const tag = reader.readUint32()
      if (tag === NUMBER) number = reader.readVarint()
      else reader.skip(tag & 7)
    }
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error
  }
  return number
}
