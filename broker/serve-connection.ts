import type { Duplex } from 'node:stream'
import type { Aedes, Client } from 'aedes'
import { AedesClient, readOn } from './aedes-client.ts'
import type { Login } from './connect/login.ts'
import { Connection } from './connection.ts'
import type { Connections } from './connections.ts'
import type { Deliverer } from './deliver/deliverer.ts'
import type { SubscriptionGuard } from './deliver/subscription-guard.ts'
import type { Origin } from './listen/origin.ts'
import { AcknowledgementQueue, type Dequeue } from './publish/acknowledgement-queue.ts'
import type { FastPath, ReadGates } from './publish/read-gate.ts'

interface ServeOptions {
  readonly aedes: Aedes
  readonly connections: Connections
  readonly gates: ReadGates<Connection>
  readonly hold: Dequeue<Connection>
  readonly toFastPath: (connection: Connection) => FastPath
  readonly subscriptionGuard: SubscriptionGuard
  readonly deliverer: Deliverer
}

/** @returns a function that speaks MQTT with a stream, and forgets its connection once it has closed */
export function createServeConnection (options: ServeOptions) {
  const { aedes, connections, gates, hold, toFastPath, subscriptionGuard, deliverer } = options

  function forget (connection: Connection, aedesClient: Client): void {
    const { client, gate, access } = connection
    access.end()
    gate.close()
    connections.remove(connection)
    subscriptionGuard.forget(connection)
    deliverer.close(connection)
    if (access.isAttached) deliverer.sessions.detach(client.id, performance.now())
    connections.release(aedesClient)
  }

  /** @param login - verified; `null` where Aedes is still to read the CONNECT */
  return (socket: Duplex, origin: Origin, login: Login | null): void => {
    const gate = gates.guard(socket)
    const held = new AcknowledgementQueue(hold)
    const aedesClient = aedes.handle(socket)
    const connection = new Connection({ client: new AedesClient(aedesClient), socket, origin, gate, held, login })
    gate.useFastPath(toFastPath(connection))
    connections.add(connection, aedesClient)
    socket.once('close', () => { forget(connection, aedesClient) })
    readOn(aedesClient)
  }
}
