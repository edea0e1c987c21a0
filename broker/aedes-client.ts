/**
 * The parts of Aedes 1.2.0 that its types do not show. No other file of the broker touches them, and
 * test/broker/aedes-client.test.ts fails when an upgrade changes one.
 */
import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'
import type { Aedes, Client } from 'aedes'
import type { ProtocolClient } from './protocol-client.ts'
import type { Will } from './wills/will.ts'

type WillPacket = Pick<Will, 'topic' | 'payload' | 'qos' | 'retain'>

interface PrivateClient extends Client {
  /** Granted subscriptions by filter; without a prototype. */
  readonly subscriptions: Readonly<Record<string, { readonly qos: 0 | 1 | 2 }>>
  /** Packets under way; Aedes reads the socket when it falls to 0. */
  _parsingBatch: number
  readonly _nextBatch: () => void
  readonly _keepaliveInterval: number
  readonly _keepaliveTimer: NodeJS.Timeout | null
  /** A DISCONNECT has come, so the will is not published. */
  readonly _disconnected: boolean
  /** Of its CONNECT, and from there until it has closed. */
  _will?: WillPacket | null
  will?: WillPacket | null
  waitForDrain (callback: (error?: Error | null) => void): void
}

/** Granted subscriptions of a client, by filter. */
export function subscriptionsOf (client: Client): PrivateClient['subscriptions'] {
  return (client as PrivateClient).subscriptions
}

/** A client of MQTT 3.1 or 3.1.1. */
export class AedesClient implements ProtocolClient {
  readonly protocolLevel = 4
  readonly willDelayMs = 0
  readonly #client: Client
  #will: Will | null = null

  constructor (client: Client) {
    this.#client = client
  }

  get id (): string {
    return this.#client.id
  }

  get clean (): boolean {
    return this.#client.clean
  }

  get cleanStart (): boolean {
    return this.#client.clean
  }

  get closed (): boolean {
    return this.#client.closed
  }

  get hasDisconnected (): boolean {
    return hasDisconnected(this.#client)
  }

  get will (): Will | null {
    const packet = willOf(this.#client)
    if (packet === null) return null
    const { topic, payload, qos, retain } = packet
    return (this.#will ??= { topic, payload: Buffer.from(payload), qos, retain, messageExpiryS: null, forwarded: null })
  }

  dropWill (): void {
    Object.assign(this.#client, { will: null, _will: null })
  }

  readOn (): void {
    readOn(this.#client)
  }

  refreshKeepalive (): void {
    refreshKeepalive(this.#client)
  }

  whenDrained (callback: (error?: Error | null) => void): void {
    whenDrained(this.#client, callback)
  }

  close (): void {
    this.#client.close()
  }

  /** MQTT 3.1.1 has no way to tell why. */
  end (): void {
    this.#client.conn.destroy()
  }
}

/**
 * Makes Aedes read a client's socket now. By itself it waits for as many `readable` events as packets are under way,
 * and each held publish is one of these packets.
 */
export function readOn (client: Client): void {
  if (client.closed) return
  const reading = client as PrivateClient
  reading._parsingBatch = 1
  reading._nextBatch()
}

/** Counts packets that Aedes does not see as a sign of life of the client. */
export function refreshKeepalive (client: Client): void {
  const { _keepaliveInterval, _keepaliveTimer } = client as PrivateClient
  if (_keepaliveInterval > 0) _keepaliveTimer?.refresh()
}

/**
 * Calls back once a client's socket takes more, or with an error once it is closed. A client whose socket takes nothing
 * for `drainTimeoutMs` is closed.
 */
export function whenDrained (client: Client, callback: (error?: Error | null) => void): void {
  (client as PrivateClient).waitForDrain(callback)
}

/** Whether a client has sent DISCONNECT. */
export function hasDisconnected (client: Client): boolean {
  return (client as PrivateClient)._disconnected
}

/** The will of a client that has not closed; `null`: none. */
function willOf (client: Client): WillPacket | null {
  const { will, _will } = client as PrivateClient
  return will ?? _will ?? null
}

/** Socket and parser of a client that is gone. */
const GONE = { conn: new Duplex().destroy(), _parser: Object.assign(new EventEmitter(), { _queue: null }) }

/**
 * Takes socket and parser from a closed client, because V8 may keep the client for long. Aedes' constructor writes
 * functions into its properties. V8 allocates them in its old generation, and each keeps the client until the next
 * major collection. At 300 logins a second, scavenges copied 14 MB a second.
 * @returns false when Aedes still needs them: a client with subscriptions ends those one by one before its will is
 *   published
 */
export function releaseClient (client: Client): boolean {
  if (!client.closed || Object.keys(subscriptionsOf(client)).length > 0) return false
  Object.assign(client, GONE)
  return true
}

/** Whether Aedes closed a client because its socket took nothing for `drainTimeout`. */
export function isDrainTimeout (error: Error): boolean {
  return error.message === 'drain timeout'
}

/** Whether Aedes closed a client because its CONNECT did not come within `connectTimeout`. */
export function isConnectTimeout (error: Error): boolean {
  return error.message === 'connect did not arrive in time'
}

/**
 * Lets topics of any depth reach `authorizePublish`. By itself Aedes closes a client that publishes to a topic of more
 * than 100 levels.
 */
export function allowDeepTopics (aedes: Aedes): void {
  Object.assign(aedes, { maxTopicLevels: Infinity })
}

/**
 * Listens to errors of the broker itself, such as those of its persistence. Without a listener they end the process.
 */
export function onBrokerError (aedes: Aedes, listener: (error: Error) => void): void {
  const emitter: EventEmitter = aedes
  emitter.on('error', listener)
}
