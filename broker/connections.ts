import type { Client } from 'aedes'
import type { CloseReason } from '../schemas/close-reason.ts'
import type { Principal } from '../schemas/principal.ts'
import { releaseClient } from './aedes-client.ts'
import type { Connection } from './connection.ts'
import type { Origin } from './listen/origin.ts'

/** A client that has its CONNACK. */
export interface ConnectedClient {
  readonly clientId: string
  /** `null` in the open mode. */
  readonly principal: Principal | null
  readonly origin: Origin
}

/**
 * Told of clients that connect and leave, in the same turn of the event loop; must not throw. The calls for one client
 * id alternate: in a takeover the earlier connection leaves first.
 */
export interface ConnectionObserver {
  /** CONNACK 0 was sent. */
  connected (client: ConnectedClient): void
  disconnected (client: ConnectedClient, reason: CloseReason): void
}

/**
 * The property of a client that holds its connection. A WeakMap in the old generation would make scavenges keep its
 * values and the clients that they refer to: each login, however short, was copied twice and moved to the old
 * generation.
 */
const CONNECTION = Symbol('connection')

interface ClientOfConnection extends Client {
  [CONNECTION]?: Connection | undefined
}

/** Open connections, by Aedes' client and by client id. */
export class Connections {
  readonly #open = new Set<Connection>()
  readonly #byId = new Map<string, Connection>()
  readonly #observers: readonly ConnectionObserver[]
  readonly #onRemoved: (clientId: string) => void
  #connected = 0

  /** @param onRemoved - told of a client id that no connection has any more, whether or not it had its CONNACK */
  constructor (observers: readonly ConnectionObserver[] = [], onRemoved: (clientId: string) => void = () => {}) {
    this.#observers = observers
    this.#onRemoved = onRemoved
  }

  get open (): ReadonlySet<Connection> {
    return this.#open
  }

  /** Clients that have their CONNACK. */
  get connected (): number {
    return this.#connected
  }

  of (client: Client): Connection | undefined {
    return (client as ClientOfConnection)[CONNECTION]
  }

  /** @param client - Aedes' client; none where Aedes does not know the connection */
  add (connection: Connection, client: Client | null): void {
    if (client !== null) (client as ClientOfConnection)[CONNECTION] = connection
    this.#open.add(connection)
  }

  /** The connection that has a client id, from the moment at which its principal is known. */
  holderOf (clientId: string): Connection | undefined {
    return this.#byId.get(clientId)
  }

  /**
   * Gives a connection its client id and closes the one that had it [MQTT-3.1.4-2], so that one at a time has it from
   * here on, also when two connect at once. Aedes closes the earlier one too, but later, and loses track of the newer
   * one if the earlier one is just closing by itself.
   * @returns false when the connection has closed meanwhile
   */
  claim (connection: Connection): boolean {
    if (!this.#open.has(connection)) return false
    const earlier = this.#byId.get(connection.client.id)
    this.#byId.set(connection.client.id, connection)
    if (earlier !== undefined) {
      earlier.noteCloseReason('taken_over')
      this.#disconnect(earlier)
      // At once: no packet in its parser may still reach the session.
      earlier.client.close()
      earlier.client.end('taken_over', null)
    }
    return true
  }

  /**
   * CONNACK is sent.
   * @returns false when the connection has closed meanwhile
   */
  ready (connection: Connection): boolean {
    if (connection.isConnected || !this.#open.has(connection)) return false
    if (this.#byId.get(connection.client.id) !== connection) return false
    connection.isConnected = true
    this.#connected++
    for (const observer of this.#observers) observer.connected(toConnectedClient(connection))
    return true
  }

  /** It has closed. */
  remove (connection: Connection): void {
    if (!this.#open.delete(connection)) return
    const { id } = connection.client
    if (this.#byId.get(id) === connection) {
      this.#byId.delete(id)
      this.#onRemoved(id)
    }
    this.#disconnect(connection)
  }

  /** Forgets a closed connection's client, once Aedes is done with it. */
  release (client: Client): void {
    setImmediate(() => {
      if (releaseClient(client)) (client as ClientOfConnection)[CONNECTION] = undefined
    })
  }

  #disconnect (connection: Connection): void {
    if (!connection.isConnected) return
    connection.isConnected = false
    this.#connected--
    for (const observer of this.#observers) observer.disconnected(toConnectedClient(connection), connection.closeReason)
  }
}

function toConnectedClient ({ client, origin, access: { principal = null } }: Connection): ConnectedClient {
  return { clientId: client.id, principal, origin }
}
