import type { Duplex } from 'node:stream'
import type { CloseReason } from '../../schemas/close-reason.ts'
import type { UnavailableReason } from '../ingest.ts'
import type { BrokerLimits } from '../limits.ts'
import type { ProtocolClient } from '../protocol-client.ts'
import { encodeDisconnect5 } from '../wire/v5/encode.ts'
import type { Connect5 } from '../wire/v5/decode.ts'
import { type ReasonCode5, REASONS5 } from '../wire/v5/reason-codes.ts'
import { type AliasTotal, TopicAliases } from './topic-aliases.ts'

/** How long a closed connection is read, so that its DISCONNECT arrives: unread input would make the kernel reset it. */
const LINGER_MS = 1000

/** The reason code of a DISCONNECT for each reason to close; `null`: the client has left or does not read. */
const CLOSE_CODES: Readonly<Record<CloseReason, ReasonCode5 | null>> = {
  disconnected: null,
  lost: null,
  keepalive: REASONS5.keepAliveTimeout,
  taken_over: REASONS5.sessionTakenOver,
  expired: REASONS5.notAuthorized,
  revoked: REASONS5.notAuthorized,
  malformed: REASONS5.malformedPacket,
  limit: REASONS5.quotaExceeded,
  not_allowed: REASONS5.notAuthorized,
  unavailable: REASONS5.serverBusy,
  drain_timeout: null,
  protocol_error: REASONS5.protocolError,
  stopping: REASONS5.serverShuttingDown
}

/** Of a DISCONNECT for a publish that could not be stored: the client keeps it in each case. */
const UNAVAILABLE_CODES: Readonly<Record<UnavailableReason, ReasonCode5>> = {
  timeout: REASONS5.serverBusy,
  failed: REASONS5.implementationSpecificError,
  stopping: REASONS5.serverShuttingDown
}

/** The topic of a client's last publish. Nearly all publishes of a client have the same one. */
export interface LastTopic {
  /** As latin1, which is quick to compare. */
  readonly encoded: string
  readonly topic: string
  /** `null`: it is not `vital/{valid id}`. */
  readonly device: string | null
}

/** Told by each {@link Mqtt5Client}; one object for all of them, so that a client holds no closure. */
export interface Mqtt5ClientObserver {
  /** It reads no packet any more, and its DISCONNECT is written. */
  ended (client: Mqtt5Client): void
  readOn (client: Mqtt5Client): void
  keepAliveTimedOut (client: Mqtt5Client): void
  drainTimedOut (client: Mqtt5Client): void
}

interface Mqtt5ClientOptions {
  readonly socket: Duplex
  readonly id: string
  readonly connect: Connect5
  /** Keep alive, its own or the server's; a silence of 1.5 times that closes the connection. */
  readonly keepAliveS: number
  readonly sessionExpiryMsMax: number
  readonly limits: Pick<BrokerLimits, 'drainTimeoutMs' | 'topicAliasesPerClientMax'>
  readonly aliasTotal: AliasTotal
  readonly observer: Mqtt5ClientObserver
}

/** A client of MQTT 5, from its CONNECT on. */
export class Mqtt5Client implements ProtocolClient {
  readonly protocolLevel = 5
  readonly id: string
  readonly clean: boolean
  readonly cleanStart: boolean
  readonly aliases: TopicAliases
  /** Publishes of QoS 1 and 2 that it takes unacknowledged. */
  readonly receiveMaximum: number
  /** Largest packet that it takes; `null`: of any size. */
  readonly maximumPacketSize: number | null
  closed = false
  hasDisconnected = false
  /** It has its CONNACK. */
  isConnected = false
  /** Whether its session was resumed. Set before its CONNACK. */
  isSessionPresent = false
  /** Published when it goes without a DISCONNECT; `null`: none. */
  will: Connect5['will']
  /** How long its session outlives the connection. */
  sessionExpiryMs: number
  /** Publishes of QoS 2 that wait for their PUBREC. */
  qos2Held = 0
  lastTopic: LastTopic | null = null
  /** Publishes on topics that are not its own. */
  forbidden = 0
  readonly #socket: Duplex
  readonly #observer: Mqtt5ClientObserver
  readonly #drainTimeoutMs: number
  readonly #keepAliveMs: number
  #keepAliveTimer: NodeJS.Timeout | null = null
  readonly #hasProblemInformation: boolean
  readonly #sessionExpiryMsMax: number
  #closeCode: { readonly code: ReasonCode5, readonly text: string | null } | null = null
  #drained: Array<(error?: Error | null) => void> | null = null
  #drainTimer: NodeJS.Timeout | null = null

  constructor ({ socket, id, connect, keepAliveS, sessionExpiryMsMax, limits, aliasTotal, observer }: Mqtt5ClientOptions) {
    this.#socket = socket
    this.#observer = observer
    this.#drainTimeoutMs = limits.drainTimeoutMs
    this.#hasProblemInformation = connect.requestProblemInformation
    this.#sessionExpiryMsMax = sessionExpiryMsMax
    this.id = id
    this.cleanStart = connect.cleanStart
    this.clean = connect.cleanStart && connect.sessionExpiryS === 0
    this.will = connect.will
    this.receiveMaximum = connect.receiveMaximum
    this.maximumPacketSize = connect.maximumPacketSize
    this.sessionExpiryMs = this.toSessionExpiryMs(connect.sessionExpiryS)
    this.aliases = new TopicAliases({
      inboundMax: limits.topicAliasesPerClientMax, outboundMax: connect.topicAliasMaximum, total: aliasTotal
    })
    this.#keepAliveMs = keepAliveS * 1500
  }

  /** It has its CONNACK. Its keep alive counts from here, because a takeover may have waited. */
  connected (): void {
    this.isConnected = true
    this.#keepAliveTimer = setTimeout(timeOut, this.#keepAliveMs, this)
  }

  /** The session expiry interval of a client, bounded by `sessionExpiryMs` of the limits. */
  toSessionExpiryMs (sessionExpiryS: number): number {
    return Math.min(sessionExpiryS * 1000, this.#sessionExpiryMsMax)
  }

  /** A Reason String, for a client that wants it; PUBLISH, CONNACK and DISCONNECT may have one in any case [MQTT-3.1.2-29]. */
  toReasonString (text: string | null): string | null {
    return this.#hasProblemInformation ? text : null
  }

  get willDelayMs (): number {
    return Math.min((this.will?.delayS ?? 0) * 1000, this.sessionExpiryMs)
  }

  dropWill (): void {
    this.will = null
  }

  write (packet: Buffer): void {
    if (this.closed || this.#socket.destroyed || !this.#socket.writable) return
    // A client that does not read is closed after the drain time-out.
    if (!this.#socket.write(packet)) this.whenDrained(ignore)
  }

  readOn (): void {
    if (!this.closed) this.#observer.readOn(this)
  }

  refreshKeepalive (): void {
    if (!this.closed) this.#keepAliveTimer?.refresh()
  }

  whenDrained (callback: (error?: Error | null) => void): void {
    if (this.closed || this.#socket.destroyed) return callback(new Error('the connection is closed'))
    if (this.#drained !== null) {
      if (callback !== ignore) this.#drained.push(callback)
      return
    }
    this.#drained = [callback]
    this.#drainTimer = setTimeout(timeOutDrain, this.#drainTimeoutMs, this)
    this.#socket.once('drain', () => { this.#settleDrained(null) })
  }

  /** Notes the reason code of a later DISCONNECT, instead of that of the close reason; the first note counts. */
  noteCloseCode (code: ReasonCode5, text: string | null = null): void {
    this.#closeCode ??= { code, text }
  }

  /** The client has sent DISCONNECT: its will is dropped unless it asks for it. */
  disconnect (code: number, sessionExpiryS: number | null): void {
    this.hasDisconnected = true
    if (code !== REASONS5.disconnectWithWill) this.will = null
    if (sessionExpiryS !== null) this.sessionExpiryMs = this.toSessionExpiryMs(sessionExpiryS)
  }

  close (): void {}

  /** Writes DISCONNECT, closes its side, and reads on for a moment without looking at what comes. */
  end (reason: CloseReason, unavailable: UnavailableReason | null): void {
    if (this.closed) return
    const socket = this.#socket
    const code = reason === 'unavailable' && unavailable !== null
      ? UNAVAILABLE_CODES[unavailable]
      : this.#closeCode?.code ?? CLOSE_CODES[reason]
    // Without a CONNACK no other packet may be sent [MQTT-3.2.0-1].
    if (code !== null && this.isConnected && !this.hasDisconnected && socket.writable && !socket.destroyed) {
      const text = this.#closeCode?.text ?? null
      socket.write(encodeDisconnect5(code, text, this.maximumPacketSize))
    }
    this.gone()
    if (reason === 'drain_timeout' || socket.destroyed) {
      socket.destroy()
      return
    }
    socket.end()
    socket.resume()
    const timer = setTimeout(destroy, LINGER_MS, socket)
    socket.once('close', () => { clearTimeout(timer) })
  }

  /** Its socket has closed, or is about to. */
  gone (): void {
    if (this.closed) return
    this.closed = true
    this.aliases.clear()
    if (this.#keepAliveTimer !== null) clearTimeout(this.#keepAliveTimer)
    this.#observer.ended(this)
    this.#settleDrained(new Error('the connection is closed'))
  }

  /** For its timers. */
  noteTimeout (of: 'keepAlive' | 'drain'): void {
    if (of === 'keepAlive') this.#observer.keepAliveTimedOut(this)
    else this.#observer.drainTimedOut(this)
  }

  #settleDrained (error: Error | null): void {
    const drained = this.#drained
    if (drained === null) return
    this.#drained = null
    if (this.#drainTimer !== null) clearTimeout(this.#drainTimer)
    for (const callback of drained) callback(error)
  }
}

function ignore (): void {}

function timeOut (client: Mqtt5Client): void {
  client.noteTimeout('keepAlive')
}

function timeOutDrain (client: Mqtt5Client): void {
  client.noteTimeout('drain')
}

function destroy (socket: Duplex): void {
  socket.destroy()
}
