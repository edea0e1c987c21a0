import { connect, type Socket } from 'node:net'
import { encodePubrel } from '../../../broker/wire/encode.ts'
import { CONNACK, DISCONNECT, FrameScanner, PUBACK, PUBCOMP, PUBREC } from '../packet-scanner.ts'
import { type MadeUpReading, toPayload } from './made-up-reading.ts'
import { encodeConnect, encodeMqtt5Publish, encodePublish, markDuplicate } from '../packet-encoder.ts'
import { type DeviceOptions, noteAcknowledgement, noteFault, noteWrite, REFUSED_FROM } from './tally.ts'

const RECONNECT_MIN_MS = 80
const RECONNECT_MAX_MS = 300
/** From connect to CONNACK; a gateway that hangs must not hold a device for ever. */
const CONNECT_TIMEOUT_MS = 10_000

export interface MqttDeviceOptions extends DeviceOptions {
  readonly qos: 1 | 2
  readonly keepaliveS: number
  /** 4: MQTT 3.1.1. */
  readonly protocolVersion: 4 | 5
}

interface Outgoing {
  readonly packet: Buffer
  readonly readings: readonly MadeUpReading[]
  isWritten: boolean
  /** PUBREC came; PUBREL and PUBCOMP are left. */
  isReceived: boolean
}

/**
 * A device that follows MQTT: keeps unacknowledged publishes in order, and sends them again with DUP after each
 * reconnect; it reconnects until it is ended. With MQTT 5 it drops publishes that an acknowledgement refuses, and keeps
 * those that a DISCONNECT leaves unacknowledged, as MQTT.js and Paho do; like them it ignores the Receive Maximum of
 * the server.
 */
export class MqttDevice {
  readonly #options: MqttDeviceOptions
  /** By message id, in the order of publishing. */
  readonly #outgoing = new Map<number, Outgoing>()
  #nextId = 1
  #socket: Socket | null = null
  #isConnected = false
  #isEnded = false
  #timer: NodeJS.Timeout | null = null
  #pingTimer: NodeJS.Timeout | null = null

  constructor (options: MqttDeviceOptions) {
    this.#options = options
  }

  get id (): string { return this.#options.id }

  get unacknowledged (): number {
    let count = 0
    for (const { readings, isReceived } of this.#outgoing.values()) if (!isReceived) count += readings.length
    return count
  }

  get hasRoom (): boolean { return this.#outgoing.size < this.#options.window }

  publish (readings: readonly MadeUpReading[]): void {
    const { id, qos, protocolVersion } = this.#options
    const encode = protocolVersion === 5 ? encodeMqtt5Publish : encodePublish
    while (this.#outgoing.has(this.#nextId)) this.#nextId = this.#nextId % 65_535 + 1
    const messageId = this.#nextId
    this.#nextId = messageId % 65_535 + 1
    const outgoing: Outgoing = {
      packet: encode(`vital/${id}`, toPayload(readings), messageId, qos), readings, isWritten: false, isReceived: false
    }
    this.#outgoing.set(messageId, outgoing)
    if (this.#isConnected) this.#write(outgoing)
  }

  connect (): void {
    const { id, port, keepaliveS, secret, protocolVersion } = this.#options
    this.#timer = null
    const scanner = new FrameScanner()
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    this.#socket = socket
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => { socket.destroy() })
    socket.on('connect', () => socket.write(encodeConnect(id, keepaliveS, { isClean: false, secret, protocolVersion })))
    socket.on('data', (chunk: Buffer) => scanner.scan(chunk, chunk.length, (type, word, code) => this.#take(type, word, code)))
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => this.#lost())
  }

  end (): void {
    this.#isEnded = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#socket?.destroy()
  }

  #lost (): void {
    const { tally, random } = this.#options
    if (this.#pingTimer !== null) clearInterval(this.#pingTimer)
    this.#socket = null
    if (this.#isConnected) {
      tally.connected--
      tally.disconnects++
    }
    this.#isConnected = false
    if (this.#isEnded) return
    this.#timer = setTimeout(() => this.connect(), RECONNECT_MIN_MS + random() * (RECONNECT_MAX_MS - RECONNECT_MIN_MS))
  }

  #take (type: number, word: number, code: number): void {
    switch (type) {
      case CONNACK:
        if ((word & 255) !== 0) noteFault(this.#options, `CONNECT was refused with code ${word & 255}`)
        this.#connected()
        break
      case PUBACK:
        this.#acknowledge(word, code)
        this.#outgoing.delete(word)
        break
      case PUBREC:
        this.#acknowledge(word, code)
        if (code >= REFUSED_FROM) this.#outgoing.delete(word)
        else this.#socket?.write(encodePubrel(word))
        break
      case PUBCOMP:
        this.#outgoing.delete(word)
        break
      case DISCONNECT: {
        const { disconnectCodes } = this.#options.tally
        disconnectCodes[code] = (disconnectCodes[code] ?? 0) + 1
        this.#socket?.destroy()
        break
      }
    }
  }

  #connected (): void {
    const { tally, keepaliveS } = this.#options
    this.#isConnected = true
    tally.connected++
    this.#socket?.setTimeout(0)
    this.#pingTimer = setInterval(() => this.#socket?.write(Buffer.from([0xc0, 0])), keepaliveS * 500).unref()
    for (const [messageId, outgoing] of this.#outgoing) {
      if (outgoing.isReceived) this.#socket?.write(encodePubrel(messageId))
      else this.#write(outgoing)
    }
  }

  #write (outgoing: Outgoing): void {
    noteWrite(this.#options, outgoing.readings, outgoing.isWritten)
    if (outgoing.isWritten) markDuplicate(outgoing.packet)
    outgoing.isWritten = true
    this.#socket?.write(outgoing.packet)
  }

  #acknowledge (messageId: number, code: number): void {
    for (const [oldest, outgoing] of this.#outgoing) {
      if (outgoing.isReceived) {
        if (oldest === messageId) return
        continue
      }
      // PUBACK and PUBREC come in the order of the PUBLISH packets [MQTT-4.6.0-2].
      if (oldest !== messageId) break
      outgoing.isReceived = true
      noteAcknowledgement(this.#options, outgoing.readings, code)
      return
    }
    noteFault(this.#options, `an acknowledgement of packet ${messageId} out of turn`)
  }
}
