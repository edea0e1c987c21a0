import type { Duplex } from 'node:stream'
import type { ConnectAuthentication } from '../connect/authentication.ts'
import type { ConnectBody } from '../connect/connect-bytes.ts'
import { type Identity, Login } from '../connect/login.ts'
import { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { Deliverer } from '../deliver/deliverer.ts'
import type { SubscriptionGuard } from '../deliver/subscription-guard.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Origin } from '../listen/origin.ts'
import { AcknowledgementQueue, type Dequeue } from '../publish/acknowledgement-queue.ts'
import type { createAuthorizePublish } from '../publish/authorize-publish.ts'
import type { PublishCallback } from '../publish/hold-until-durable.ts'
import { noteConnect, type Traffic } from '../publish/packet-scanner.ts'
import { isBridgeState } from '../topics.ts'
import type { Violations } from '../violations.ts'
import { type Connect5, decodeConnect } from '../wire/v5/decode.ts'
import { type ConnackProperties5, encodeConnack5 } from '../wire/v5/encode.ts'
import { PacketError } from '../wire/v5/packet-error.ts'
import { type ReasonCode5, REASONS5 } from '../wire/v5/reason-codes.ts'
import { createDepartures } from './departures.ts'
import { Mqtt5Client } from './mqtt5-client.ts'
import { PacketReader, type ReaderOptions } from './packet-reader.ts'
import type { Wills } from './wills.ts'

interface ServeMqtt5Options {
  readonly connections: Connections
  readonly authentication: Pick<ConnectAuthentication, 'verifyMqtt5' | 'admit'>
  readonly reader: ReaderOptions
  readonly hold: Dequeue<Connection>
  readonly publishes: Pick<ReturnType<typeof createAuthorizePublish>, 'submit'>
  readonly passUnacknowledged: PublishCallback
  readonly deliverer: Deliverer
  readonly subscriptionGuard: SubscriptionGuard
  readonly wills: Wills
  readonly traffic: Traffic
  readonly violations: Violations
  readonly hits: LimitHits
  readonly limits: BrokerLimits
}

/** A connection of MQTT 5 between its CONNECT and its CONNACK. */
interface Arrival {
  readonly stream: Duplex
  readonly origin: Origin
  readonly connect: Connect5
  readonly login: Login
}

/** Speaks MQTT 5 with connections whose CONNECT has come. */
export function createServeMqtt5 (options: ServeMqtt5Options) {
  const { connections, authentication, reader, hold, deliverer, subscriptionGuard, traffic, violations, hits, limits } = options
  const { sessions } = deliverer
  const { connectionOf, observer } = createDepartures({ ...options, sessions })
  const aliasTotal = { count: 0 }
  /** Connections without a CONNACK. */
  const underWay = new Set<Duplex>()

  /** The keep alive that a client gets instead of its own; `null`: it keeps its own. */
  const serverKeepAliveS = ({ keepAliveS }: Connect5) =>
    keepAliveS === 0 || keepAliveS > limits.keepaliveSecondsMax ? limits.keepaliveSecondsMax : null

  function decode (stream: Duplex, origin: Origin, body: Buffer): Connect5 | null {
    try {
      const connect = decodeConnect(body)
      if (connect.authenticationMethod === null) return withoutBridgeWill(connect)
      refuse(stream, REASONS5.badAuthenticationMethod)
    } catch (error) {
      if (!(error instanceof PacketError)) throw error
      violations.connect5(origin, error)
      refuse(stream, error.reasonCode, error.rule)
    }
    return null
  }

  /** Drops the will of a bridge's notifications: it would be refused, and the bridge with it at each attempt. */
  function withoutBridgeWill (connect: Connect5): Connect5 {
    if (connect.will === null || !isBridgeState(connect.will.topic)) return connect
    violations.bridgeState(connect.clientId)
    return { ...connect, will: null }
  }

  /** Its principal is known: it gets its client id and session, then its CONNACK. */
  async function admit ({ stream, origin, connect, login }: Arrival, identity: Identity): Promise<void> {
    const client = new Mqtt5Client({
      socket: stream,
      id: login.clientId,
      connect,
      keepAliveS: serverKeepAliveS(connect) ?? connect.keepAliveS,
      sessionExpiryMsMax: limits.sessionExpiryMs,
      limits,
      aliasTotal,
      observer
    })
    const gate = new PacketReader(reader, stream)
    const connection = new Connection({ client, socket: stream, origin, gate, held: new AcknowledgementQueue(hold), login })
    connectionOf.set(client, connection)
    connections.add(connection, null)
    stream.once('close', () => { client.gone() })
    const result = await authentication.admit(connection, login, identity, (principal) => { beginSession(client, principal) })
    connection.access.finish()
    if (client.closed) return
    if (result === null) return welcome(connection, client, connect)
    client.gone()
    if (result === 'unavailable') stream.destroy()
    else refuse(stream, REASONS5.notAuthorized)
  }

  function beginSession (client: Mqtt5Client, principal: Identity['principal']): void {
    if (client.cleanStart) sessions.end(client.id)
    if (client.clean) return
    client.isSessionPresent = sessions.has(client.id)
    sessions.attach(client.id, principal, true)
  }

  function welcome (connection: Connection, client: Mqtt5Client, connect: Connect5): void {
    const properties = toConnackProperties(client, connect, serverKeepAliveS(connect), limits)
    const { isSessionPresent: sessionPresent, maximumPacketSize } = client
    client.write(encodeConnack5({ sessionPresent, reasonCode: REASONS5.success, properties }, maximumPacketSize))
    client.connected()
    if (!connections.ready(connection)) return
    subscriptionGuard.resume(connection)
    connection.gate.open()
    deliverer.open(connection)
    subscriptionGuard.recount(connection)
  }

  async function identify (arrival: Arrival): Promise<void> {
    const { stream, connect, login } = arrival
    const onClose = () => { login.end() }
    const onReadable = () => {
      if (stream.readableLength === 0) stream.destroy()
    }
    underWay.add(stream)
    stream.on('close', onClose).on('readable', onReadable)
    const identity = await authentication.verifyMqtt5(login, connect)
    underWay.delete(stream)
    stream.off('close', onClose).off('readable', onReadable)
    if (stream.destroyed || stream.readableEnded) stream.destroy()
    // Clients come back by themselves; after a CONNACK of 0x80 or more MQTT.js does not.
    else if (identity === 'unavailable') stream.destroy()
    else if (typeof identity === 'number') refuse(stream, identity)
    else await admit(arrival, identity)
  }

  return {
    /** Takes a connection whose CONNECT has come. */
    serve (stream: Duplex, origin: Origin, { body, bytes }: ConnectBody): void {
      noteConnect(traffic, bytes)
      // For as long as it lives: a peer that resets would otherwise end the process.
      stream.on('error', ignore)
      if (body === null) {
        hits.hit('connect_bytes')
        return refuse(stream, REASONS5.packetTooLarge)
      }
      const connect = decode(stream, origin, body)
      if (connect === null) return
      const { username, password } = connect
      const heldBytes = () => bytes + stream.readableLength
      const login = new Login({ clientId: connect.clientId, username, password, origin, heldBytes })
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      identify({ stream, origin, connect, login })
    },
    /** Topic aliases of all connections, now. */
    get topicAliases (): number {
      return aliasTotal.count
    },
    /** Closes all connections without a CONNACK. */
    stop (): void {
      for (const stream of underWay) stream.destroy()
    }
  }
}

/** Properties that differ from the client's request [MQTT-3.2.2-21], or from the standard's default. */
function toConnackProperties (
  client: Mqtt5Client, { sessionExpiryS, clientId }: Connect5, serverKeepAliveS: number | null, limits: BrokerLimits
): ConnackProperties5 {
  return {
    ...(client.sessionExpiryMs < sessionExpiryS * 1000 && { sessionExpiryS: client.sessionExpiryMs / 1000 }),
    receiveMaximum: limits.heldMessagesPerClientMax,
    maximumPacketSize: limits.packetBytesMax,
    ...(clientId === '' && { assignedClientId: client.id }),
    ...(limits.topicAliasesPerClientMax > 0 && { topicAliasMaximum: limits.topicAliasesPerClientMax }),
    ...(serverKeepAliveS !== null && { serverKeepAliveS })
  }
}

function refuse (stream: Duplex, reasonCode: ReasonCode5, reasonString?: string): void {
  stream.once('finish', () => { stream.destroy() })
  const properties = reasonString === undefined ? {} : { reasonString }
  stream.end(encodeConnack5({ sessionPresent: false, reasonCode, properties }))
}

function ignore (): void {}
