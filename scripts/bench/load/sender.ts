import type { Writable } from 'node:stream'
import type { LoadSettings } from './messages.ts'
import { DEVICE_DIGITS } from '../../harness/preload.ts'
import { encodeMqtt5Publish, encodePublish, PINGREQ } from '../../harness/packet-encoder.ts'
import { createRequest, writeProtoReading } from './grpc-link.ts'
import { createPayload, writeDigits, writeReading } from './reading.ts'

/** The bytes that one answer acknowledges, and where their readings begin. */
interface Slot {
  readonly bytes: Buffer
  readonly readingsAt: readonly number[]
}

function createSlot (settings: LoadSettings, device: string, slot: number): Slot {
  const { protocol, qos, readingsPerAnswer } = settings
  if (protocol === 'http') {
    const { payload, readingsAt } = createPayload(readingsPerAnswer, device)
    const head = Buffer.from('POST /vital-data HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n' +
      `Content-Length: ${payload.length}\r\n\r\n`)
    return { bytes: Buffer.concat([head, payload]), readingsAt: readingsAt.map((at) => head.length + at) }
  }
  if (protocol === 'grpc') return createRequest(readingsPerAnswer, device, slot + 1)
  if (qos === 1) {
    const { payload, readingsAt } = createPayload(readingsPerAnswer)
    const topic = `vital/${device}`
    const packet = protocol === 'mqtt5' ? encodeMqtt5Publish(topic, payload, slot + 1) : encodePublish(topic, payload, slot + 1)
    return { bytes: packet, readingsAt: readingsAt.map((at) => packet.length - payload.length + at) }
  }
  // QoS 0 has no answer of its own: the PINGRESP behind a run of publishes shows that the server has read them all.
  const { payload } = createPayload(1)
  const packet = encodePublish(`vital/${device}`, payload)
  const packets = Array.from({ length: readingsPerAnswer }, () => packet)
  return {
    bytes: Buffer.concat([...packets, PINGREQ]),
    readingsAt: packets.map((_, index) => (index + 1) * packet.length - payload.length)
  }
}

/**
 * The packets of one connection, encoded once into a ring of slots. A slot is written anew only after its answer has
 * come: by then the server has read it, so the kernel no longer needs its bytes, and nothing is copied or allocated.
 */
export class Sender {
  readonly #socket: Pick<Writable, 'write'>
  readonly #write: typeof writeReading
  readonly #bytes: Buffer
  readonly #slotBytes: number
  readonly #slots: number
  readonly #readingsAt: readonly number[]
  readonly #devices: number
  readonly #deviceAt: number
  #next = 0
  #oldest = 0
  #unanswered = 0
  #answered = 0
  #sent = 0
  #lastUs = 0
  #random: number

  constructor (settings: LoadSettings, socket: Pick<Writable, 'write'>, index: number) {
    const isFleet = settings.devices > 0
    const device = `${settings.devicePrefix}-${isFleet ? '0'.repeat(DEVICE_DIGITS) : index}`
    const slots = Array.from({ length: settings.inFlight }, (_, slot) => createSlot(settings, device, slot))
    this.#socket = socket
    this.#write = settings.protocol === 'grpc' ? writeProtoReading : writeReading
    this.#bytes = Buffer.concat(slots.map((slot) => slot.bytes))
    this.#slots = slots.length
    this.#slotBytes = this.#bytes.length / slots.length
    this.#readingsAt = slots[0]?.readingsAt ?? []
    this.#devices = settings.devices
    this.#deviceAt = isFleet ? this.#bytes.indexOf(device) + device.length - DEVICE_DIGITS : -1
    this.#random = (Math.random() * 0x1_0000_0000) | 0
  }

  /** Slots that may be sent now. */
  get free (): number { return this.#slots - this.#unanswered }
  get unanswered (): number { return this.#unanswered }
  /** Slots sent and answered so far. */
  get sent (): number { return this.#sent }
  get answered (): number { return this.#answered }

  /**
   * Sends `count` slots, at most {@link free}, with readings that were never sent before.
   * @param timeUs - Unix microseconds of the first; no two readings of this device share one
   */
  send (count: number, timeUs: number): void {
    let from = this.#next
    for (let sent = 0; sent < count; sent++) {
      for (const at of this.#readingsAt) {
        this.#lastUs = timeUs > this.#lastUs ? timeUs : this.#lastUs + 1
        this.#random = (Math.imul(this.#random, 1664525) + 1013904223) | 0
        this.#write(this.#bytes, this.#next * this.#slotBytes + at, this.#lastUs, this.#random)
      }
      if (this.#devices > 0) {
        // The middle bits: the low ones of such a generator repeat soon.
        const device = ((this.#random >>> 4) & 0xff_ffff) % this.#devices
        writeDigits(this.#bytes, this.#next * this.#slotBytes + this.#deviceAt, DEVICE_DIGITS, device)
      }
      this.#next++
      if (this.#next === this.#slots) {
        this.#send(from, this.#slots)
        this.#next = from = 0
      }
    }
    if (this.#next > from) this.#send(from, this.#next)
    this.#unanswered += count
    this.#sent += count
  }

  #send (from: number, to: number): void {
    this.#socket.write(this.#bytes.subarray(from * this.#slotBytes, to * this.#slotBytes))
  }

  /**
   * Takes the answer to the oldest slot.
   * @param messageId - of a PUBACK: must be the oldest one's, as PUBACKs come in the order of PUBLISHes [MQTT-4.6.0-2]
   */
  answer (messageId?: number): void {
    if (this.#unanswered === 0) throw new Error('an answer to nothing')
    if (messageId !== undefined && messageId !== this.#oldest + 1) {
      throw new Error(`PUBACK out of order: message id ${messageId} instead of ${this.#oldest + 1}`)
    }
    this.#oldest = (this.#oldest + 1) % this.#slots
    this.#unanswered--
    this.#answered++
  }
}
