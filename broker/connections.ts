import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'
import type { Client } from 'aedes'
import type { Principal } from '../schemas/principal.ts'
import type { AcknowledgementQueue } from './publish/acknowledgement-queue.ts'
import type { Login } from './connect/login.ts'
import type { Origin } from './listen/origin.ts'
import type { ReadGate } from './publish/read-gate.ts'
import type { Link } from './session/delivery.ts'
import type { Session } from './session/session.ts'

/** What the broker knows of one connection, beside Aedes' own client. */
export interface Connection {
  readonly client: Client
  /** TCP, TLS or a WebSocket. */
  readonly socket: Duplex
  readonly origin: Origin
  readonly gate: ReadGate
  readonly held: AcknowledgementQueue
  /** While it is under way. */
  login: Login | null
  /** Who it is; `null` where nobody needs to prove anything, `undefined` until that is known. */
  principal: Principal | null | undefined
  /** The one topic that it may publish on; `null` for any. */
  publishTopic: string | null
  /** Unix milliseconds at which its credentials end; infinite for most. */
  expiresAtMs: number
  /** CONNACK 0 was sent and the socket is open. */
  connected: boolean
  /** It counts as a connection of its persistent session. */
  attached: boolean
  /** It published what it may not: it is being closed, and nothing that comes behind is looked at. */
  forbidden: boolean
  /** One of its publishes could not be made durable: it is being closed, and nothing of it is acknowledged any more. */
  abandoned: boolean
  /** It broke a limit: it is closed once what came before has been acknowledged. */
  condemned: boolean
  subscriptions: number
  /** Levels of all their filters together. */
  subscriptionLevels: number
  /** What it subscribes to and is owed; `null` while that is nothing. A clean session ends with it. */
  session: Session | null
  /** By which its session reaches it, once CONNACK is sent. */
  link: Link | null
}

/**
 * A connection of which nothing is known yet. Field by field: V8 gives each object that is spread from another a shape of its own, and
 * with thousands of shapes each access to a connection missed the inline caches, 8 % of the processor's time at 5,000 connections.
 */
export function createConnection (
  { client, socket, origin, gate, held, login }: Pick<Connection, 'client' | 'socket' | 'origin' | 'gate' | 'held' | 'login'>
): Connection {
  const connection: Connection = {
    client,
    socket,
    origin,
    gate,
    held,
    login,
    principal: undefined,
    publishTopic: null,
    expiresAtMs: Infinity,
    connected: false,
    attached: false,
    forbidden: false,
    abandoned: false,
    condemned: false,
    subscriptions: 0,
    subscriptionLevels: 0,
    session: null,
    link: null
  }
  gate.connection = connection
  held.connection = connection
  return connection
}

/** Aedes' client has this property; its types do not tell. */
export interface SubscribingClient extends Client {
  readonly subscriptions: Readonly<Record<string, { readonly qos: 0 | 1 | 2 }>>
}

/**
 * Closes a connection after what was written to it has reached the kernel: writes of one turn are corked until the
 * next tick, and `destroy` would throw them away.
 */
export function closeSoon ({ socket }: Connection): void {
  setImmediate(() => socket.destroy())
}

/**
 * Makes Aedes read from a client. It counts the packets under way and reads once a `readable` event has come for each of them,
 * which takes a publish for each that is held; here the gate knows that there is more.
 */
export function readOn (client: Client): void {
  const { closed } = client
  if (closed) return
  const reading = client as Client & { _parsingBatch: number, _nextBatch: () => void }
  reading._parsingBatch = 1
  reading._nextBatch()
}

/**
 * Where a client keeps its connection. In a WeakMap scavenges take each value for alive that an old table holds, and with it the client that the
 * value leads to: whoever logged in was copied twice and moved to the old generation, however short a time it was here.
 */
const CONNECTION = Symbol('connection')

interface ClientOfConnection extends Client {
  [CONNECTION]?: Connection | undefined
}

/** What a client that is gone has instead of a socket and a parser. */
const GONE = { conn: new Duplex().destroy(), _parser: Object.assign(new EventEmitter(), { _queue: null }) }

/**
 * Lets go of what a closed client holds, once Aedes is done with it. Its constructor writes functions into properties, which V8 makes in its old
 * generation (read-gate.ts): each would keep its client, and with it socket, parser and gate, until the next major collection. Of 300
 * logins a second that was 14 MB, which scavenges copied.
 */
export function letGo (client: Client): void {
  setImmediate(() => {
    const { closed, subscriptions } = client as SubscribingClient
    // With subscriptions, which end one by one, its will may still wait.
    if (!closed || Object.keys(subscriptions).length > 0) return
    Object.assign(client, GONE)
    ;(client as ClientOfConnection)[CONNECTION] = undefined
  })
}

/** Connections by Aedes' client. */
export class Connections {
  readonly #open = new Set<Connection>()
  readonly #byId = new Map<string, Connection>()
  connected = 0

  get open (): ReadonlySet<Connection> {
    return this.#open
  }

  of (client: Client): Connection | undefined {
    return (client as ClientOfConnection)[CONNECTION]
  }

  add (connection: Connection): void {
    const client: ClientOfConnection = connection.client
    client[CONNECTION] = connection
    this.#open.add(connection)
  }

  /** The connection that has a client id, from the moment at which its principal is known. */
  holderOf (clientId: string): Connection | undefined {
    return this.#byId.get(clientId)
  }

  /**
   * Gives a connection its client id and closes the one that had it [MQTT-3.1.4-2], so that there is one at a time from
   * here on, also of two that are being connected. Aedes closes it too, but later, and loses sight of the newer of two
   * when the elder was just closing by itself.
   * @returns false when the connection has closed meanwhile
   */
  claim (connection: Connection): boolean {
    if (!this.#open.has(connection)) return false
    const earlier = this.#byId.get(connection.client.id)
    this.#byId.set(connection.client.id, connection)
    if (earlier !== undefined) {
      // At once: nothing that lies in its parser may still reach the session.
      earlier.client.close()
      earlier.socket.destroy()
    }
    return true
  }

  /**
   * CONNACK is sent.
   * @returns false when the connection has closed meanwhile
   */
  ready (connection: Connection): boolean {
    if (connection.connected || !this.#open.has(connection) || this.#byId.get(connection.client.id) !== connection) return false
    connection.connected = true
    this.connected++
    return true
  }

  remove (connection: Connection): void {
    if (!this.#open.delete(connection)) return
    const { id } = connection.client
    if (this.#byId.get(id) === connection) this.#byId.delete(id)
    if (!connection.connected) return
    connection.connected = false
    this.connected--
  }
}
