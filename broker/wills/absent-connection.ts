import { Duplex } from 'node:stream'
import { publishTopicOf } from '../connect/authorisation.ts'
import { Connection } from '../connection.ts'
import type { Origin } from '../listen/origin.ts'
import type { ProtocolClient } from '../protocol-client.ts'
import { AcknowledgementQueue, type Dequeue } from '../publish/acknowledgement-queue.ts'
import type { Gate } from '../publish/gate.ts'
import type { KeptWill } from './will.ts'

/** A client that was connected to a gateway that is dead. */
class AbsentClient implements ProtocolClient {
  readonly clean = true
  readonly cleanStart = true
  readonly closed = true
  readonly hasDisconnected = false
  readonly will = null
  readonly willDelayMs = 0
  readonly id: string
  readonly protocolLevel: 4 | 5

  constructor (id: string, protocolLevel: 4 | 5) {
    this.id = id
    this.protocolLevel = protocolLevel
  }

  dropWill (): void {}
  readOn (): void {}
  refreshKeepalive (): void {}
  whenDrained (callback: (error?: Error | null) => void): void {
    callback(new Error('the client is not connected'))
  }

  close (): void {}
  end (): void {}
}

/** Nothing is read. */
class NoGate implements Gate<Connection> {
  connection!: Connection
  open (): void {}
  hold (): boolean {
    return false
  }

  release (): void {}
  close (): void {}
}

const NO_SOCKET = new Duplex().destroy()
const NOWHERE: Origin = { transport: 'tcp', remoteAddress: '', certificateNames: [] }

/**
 * A closed connection of a client that was connected elsewhere, so that its will goes the way of any will: authorised
 * by its principal, stored, fanned out.
 */
export function createAbsentConnection (
  clientId: string, { principal, expiresAtMs, isMqtt5 }: KeptWill, hold: Dequeue<Connection>
): Connection {
  const connection = new Connection({
    client: new AbsentClient(clientId, isMqtt5 ? 5 : 4),
    socket: NO_SOCKET,
    origin: NOWHERE,
    gate: new NoGate(),
    held: new AcknowledgementQueue(hold),
    login: null
  })
  connection.access.grant({ principal, publishTopic: publishTopicOf(principal), expiresAtMs, isAttached: false })
  return connection
}
