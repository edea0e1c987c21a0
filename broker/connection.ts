import type { Duplex } from 'node:stream'
import type { CloseReason } from '../schemas/close-reason.ts'
import { Access } from './connect/access.ts'
import type { Login } from './connect/login.ts'
import { SessionBinding } from './deliver/session-binding.ts'
import type { Origin } from './listen/origin.ts'
import type { AcknowledgementQueue } from './publish/acknowledgement-queue.ts'
import type { Gate } from './publish/gate.ts'
import type { ProtocolClient } from './protocol-client.ts'
import type { UnavailableReason } from './ingest.ts'

interface ConnectionOptions {
  readonly client: ProtocolClient
  /** TCP, TLS or a WebSocket. */
  readonly socket: Duplex
  readonly origin: Origin
  readonly gate: Gate<Connection>
  readonly held: AcknowledgementQueue<Connection>
  /** Set when the CONNECT was verified before Aedes saw it. */
  readonly login: Login | null
}

/**
 * One connection: the parts that other folders own, how it ends, and why.
 *
 * A class, so that all have one shape: V8 gives each object that is spread from another a shape of its own. With
 * thousands of shapes each access to a connection misses the inline caches, which took 8 % of the processor's time at
 * 5,000 connections.
 */
export class Connection {
  readonly client: ProtocolClient
  readonly socket: Duplex
  readonly origin: Origin
  readonly gate: Gate<Connection>
  /** Publishes that wait for their acknowledgement. */
  readonly held: AcknowledgementQueue<Connection>
  readonly access: Access
  readonly subscriber = new SessionBinding()
  #isConnected = false
  #closeReason: CloseReason | null = null
  #ignoresPublishes = false
  #isUnacknowledged = false
  #closesOnceAcknowledged = false
  #isSurrendered = false
  #unavailableReason: UnavailableReason | null = null

  constructor ({ client, socket, origin, gate, held, login }: ConnectionOptions) {
    this.client = client
    this.socket = socket
    this.origin = origin
    this.gate = gate
    this.held = held
    this.access = new Access(login)
    gate.connection = this
    held.connection = this
  }

  /** CONNACK 0 was sent, the socket is open, and no other connection has its client id. Set by {@link Connections}. */
  get isConnected (): boolean {
    return this.#isConnected
  }

  set isConnected (isConnected: boolean) {
    this.#isConnected = isConnected
  }

  /** Whether further publishes of it are neither stored nor acknowledged. */
  get ignoresPublishes (): boolean {
    return this.#ignoresPublishes
  }

  /** Whether acknowledgements can no longer reach the client. */
  get isGone (): boolean {
    return this.#isUnacknowledged || this.client.closed || this.socket.destroyed
  }

  /**
   * Another gateway has its session, and the client sends unacknowledged messages again there. So subscribers get them
   * from there, once and in order, and not from here.
   */
  get isSurrendered (): boolean {
    return this.#isSurrendered
  }

  /** Why it closes. Read once it has closed. */
  get closeReason (): CloseReason {
    return this.#closeReason ?? (this.client.hasDisconnected ? 'disconnected' : 'lost')
  }

  /** Notes why it is about to close; the first reason counts. */
  noteCloseReason (reason: CloseReason): void {
    this.#closeReason ??= reason
  }

  /** Closes it as soon as {@link Connection.closeIfAcknowledged} finds all its publishes acknowledged. */
  closeOnceAcknowledged (reason: CloseReason): void {
    this.noteCloseReason(reason)
    this.#closesOnceAcknowledged = true
  }

  closeIfAcknowledged (): void {
    if (this.#closesOnceAcknowledged && this.held.size === 0) this.#closeSoon()
  }

  /** Ignores its further publishes, and closes it once those before are acknowledged. */
  ignorePublishes (reason: CloseReason): void {
    this.#ignoresPublishes = true
    this.gate.close()
    this.closeOnceAcknowledged(reason)
    this.closeIfAcknowledged()
  }

  /**
   * Closes it, and acknowledges none of its publishes any more; what Aedes keeps for them goes with the connection.
   * @returns false when it is being closed like that already
   */
  closeUnacknowledged (reason: UnavailableReason): boolean {
    if (this.#isUnacknowledged) return false
    this.noteCloseReason('unavailable')
    this.#unavailableReason = reason
    this.#isUnacknowledged = true
    this.gate.close()
    this.#closeSoon()
    return true
  }

  /** Closes it at once, because another gateway has its session. */
  surrender (): void {
    this.noteCloseReason('taken_over')
    this.#isSurrendered = true
    this.client.close()
    this.client.end('taken_over', null)
  }

  /** Closes it at once. */
  destroy (reason: CloseReason): void {
    this.noteCloseReason(reason)
    this.client.end(reason, this.#unavailableReason)
  }

  /**
   * Closes it after its writes have reached the kernel: those of one turn are corked until the next tick, and `destroy`
   * would throw them away.
   */
  #closeSoon (): void {
    setImmediate(() => { this.client.end(this.closeReason, this.#unavailableReason) })
  }
}
