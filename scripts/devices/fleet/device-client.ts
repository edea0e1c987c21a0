import { Socket } from 'node:net'
import { connect, type MqttClient, Store } from 'mqtt'
import { Compile } from 'typebox/compile'
import type { Reading } from '../../../schemas/reading.ts'
import { RejectionSchema } from '../../../schemas/rejection.ts'
import type { Login } from './logins.ts'
import type { Tally } from './tally.ts'

/** A gateway that does not close the connection after DISCONNECT is left after this long. */
const END_TIMEOUT_MS = 2000

const rejection = Compile(RejectionSchema)

/** MQTT.js 5.16 resends what was not acknowledged, but without the DUP flag that [MQTT-3.3.1-1] asks for. */
class ResendStore extends Store {
  override put (...[packet, done]: Parameters<Store['put']>): this {
    return super.put(packet.cmd === 'publish' ? { ...packet, dup: true } : packet, done)
  }
}

/** What {@link DeviceClient} needs. */
export interface DeviceClientOptions {
  readonly url: string
  readonly clientId: string
  readonly device: string
  /** 4: MQTT 3.1.1. */
  readonly protocolVersion: 4 | 5
  /** `null` for a gateway that lets everyone in. */
  readonly login: Login | null
  /** Certificates to trust, PEM. */
  readonly ca: Buffer | null
  /** Readings sent and not yet acknowledged, at most. */
  readonly inFlightMax: number
  readonly reconnectMs: number
  readonly tally: Tally
}

/**
 * One device: publishes readings on `vital/{device}` at QoS 1, a bounded number of them unacknowledged at a time.
 * Publishes only between CONNACK and close. So all that MQTT.js holds has been on the wire, and is a true resend. A
 * publish that MQTT.js is given while it resends may be dropped with `Connection closed`.
 */
export class DeviceClient {
  readonly #options: DeviceClientOptions
  readonly #client: MqttClient
  #inFlight = 0
  #online = false
  #connections = 0
  #stopped = false
  #deaf = false
  #wake: (() => void) | null = null

  constructor (options: DeviceClientOptions) {
    this.#options = options
    const { url, clientId, protocolVersion, login, ca, reconnectMs, tally } = options
    this.#client = connect(url, {
      clientId,
      protocolVersion,
      ...login,
      ...ca === null ? {} : { ca },
      reconnectPeriod: reconnectMs,
      reconnectOnConnackError: true,
      resubscribe: false,
      outgoingStore: new ResendStore()
    })
    this.#client.on('connect', () => { this.#connected() })
    this.#client.on('close', () => { this.#setOnline(false) })
    this.#client.on('error', (error) => { tally.lastFault = toFaultText(error) })
    this.#client.on('message', (_topic, payload) => { this.#rejected(payload) })
    this.#client.on('packetsend', (packet) => {
      if (packet.cmd === 'publish' && packet.dup) tally.resent++
    })
  }

  /** Settles when one more reading may be published: `false` when the device was stopped first. */
  async room (): Promise<boolean> {
    if (this.#stopped || this.#hasRoom()) return !this.#stopped
    this.#options.tally.blocked++
    while (!this.#stopped && !this.#hasRoom()) await this.#change()
    this.#options.tally.blocked--
    return !this.#stopped
  }

  /** Publishes one reading; only right after {@link room} said `true`. */
  publish (reading: Reading): void {
    const { device, tally } = this.#options
    const sentAtMs = performance.now()
    this.#inFlight++
    tally.sent++
    this.#client.publish(`vital/${device}`, JSON.stringify(reading), { qos: 1 }, (error) => {
      // Refused for good by a reason code of MQTT 5: MQTT.js drops the reading, and the rejection comes on its topic.
      if (error && !isReasonCode(error)) {
        tally.lastFault = toFaultText(error)
        return
      }
      this.#inFlight--
      tally.acknowledge(performance.now() - sentAtMs)
      this.#notify()
    })
  }

  /** Sends nothing more; what was sent is still resent until acknowledged. */
  stop (): void {
    this.#stopped = true
    this.#notify()
  }

  /** Settles when everything sent is acknowledged, or on `giveUp`. */
  async drained (giveUp: AbortSignal): Promise<void> {
    const wake = () => { this.#notify() }
    giveUp.addEventListener('abort', wake)
    while (this.#inFlight > 0 && !giveUp.aborted) await this.#change()
    giveUp.removeEventListener('abort', wake)
  }

  /** Disconnects; a device with unacknowledged readings just drops its connection. */
  async end (): Promise<void> {
    const timer = setTimeout(() => { this.#client.stream.destroy() }, END_TIMEOUT_MS)
    await this.#client.endAsync(this.#inFlight > 0 || !this.#online)
    clearTimeout(timer)
    this.#setOnline(false)
  }

  #hasRoom (): boolean {
    return this.#online && this.#inFlight < this.#options.inFlightMax
  }

  #connected (): void {
    const { device, tally } = this.#options
    if (this.#connections++ > 0) tally.reconnects++
    // Nagle's algorithm would hold a small PUBLISH until the one before it is acknowledged by TCP, and we would measure that.
    if (this.#client.stream instanceof Socket) this.#client.stream.setNoDelay(true)
    this.#client.subscribe(`vital/${device}/rejected`, { qos: 0 }, (error) => {
      if (!this.#client.connected) return
      if (error && !this.#deaf) {
        this.#deaf = true
        tally.deaf++
      }
      this.#setOnline(true)
    })
  }

  #rejected (payload: Buffer): void {
    const { tally } = this.#options
    tally.rejected++
    tally.firstRejection ??= toRejectionText(payload)
  }

  #setOnline (online: boolean): void {
    if (this.#online === online) return
    this.#online = online
    this.#options.tally.online += online ? 1 : -1
    this.#notify()
  }

  async #change (): Promise<void> {
    await new Promise<void>((resolve) => { this.#wake = resolve })
  }

  #notify (): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }
}

/** Whether a publish was answered with a reason code of MQTT 5, 0x80 or more. */
function isReasonCode (error: Error): boolean {
  return 'code' in error && typeof error.code === 'number' && error.code >= 0x80
}

/**
 * A connection's error in a few words: its code where the message is empty (Node's AggregateError of several
 * addresses).
 */
export function toFaultText (error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null
  return error.message === '' ? code ?? error.name : error.message
}

/** Why a reading was refused, in one line: the reason and its first fault. */
export function toRejectionText (payload: Buffer): string {
  let value: unknown
  try {
    value = JSON.parse(payload.toString())
  } catch {
    return 'no JSON'
  }
  if (!rejection.Check(value)) return 'unknown reason'
  return [value.reason, ...value.errors.slice(0, 1).map(({ path, message }) => `${path} ${message}`)].join(': ')
}
