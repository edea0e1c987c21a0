import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { Deliverer } from '../deliver/deliverer.ts'
import type { SubscriptionGuard } from '../deliver/subscription-guard.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { createAuthorizePublish } from '../publish/authorize-publish.ts'
import type { PublishCallback } from '../publish/hold-until-durable.ts'
import { toAnyPublish } from '../publish/published-packet.ts'
import { ownCopy } from '../session/delivery.ts'
import type { Sessions } from '../session/sessions.ts'
import { toWillBytes, type Will } from '../wills/will.ts'
import type { Mqtt5Client, Mqtt5ClientObserver } from './mqtt5-client.ts'
import type { PacketReader } from './packet-reader.ts'
import { toProperties } from './publish-handler.ts'
import type { Wills } from './wills.ts'

interface DeparturesOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly deliverer: Deliverer
  readonly subscriptionGuard: SubscriptionGuard
  readonly publishes: Pick<ReturnType<typeof createAuthorizePublish>, 'submit'>
  readonly passUnacknowledged: PublishCallback
  readonly wills: Wills
  readonly hits: LimitHits
}

/** Handles MQTT 5 clients that leave, and closes them after keep alive and drain time-outs. */
export function createDepartures (options: DeparturesOptions) {
  const { connections, sessions, deliverer, subscriptionGuard, publishes, passUnacknowledged, wills, hits } = options
  const connectionOf = new Map<Mqtt5Client, Connection>()

  const observer: Mqtt5ClientObserver = {
    ended: (client: Mqtt5Client) => {
      const connection = connectionOf.get(client)
      if (connection !== undefined) forget(connection, client)
    },
    readOn: (client: Mqtt5Client) => { (connectionOf.get(client)?.gate as PacketReader | undefined)?.wake() },
    keepAliveTimedOut: (client: Mqtt5Client) => {
      hits.hit('keepalive')
      connectionOf.get(client)?.destroy('keepalive')
    },
    drainTimedOut: (client: Mqtt5Client) => { connectionOf.get(client)?.destroy('drain_timeout') }
  }

  /** A connection is over: its session goes on without it, or ends, and its will is due. */
  function forget (connection: Connection, client: Mqtt5Client): void {
    const { access, gate } = connection
    connectionOf.delete(client)
    access.end()
    gate.close()
    connections.remove(connection)
    subscriptionGuard.forget(connection)
    deliverer.close(connection)
    const { will } = client
    // One that was revoked may not publish.
    if (client.isConnected && will !== null && access.mayPublish(will.topic)) addWill(connection, client, will)
    // A connection that was not let in must not release what another client of the same id holds.
    if (client.clean && access.principal !== undefined) sessions.releaseInbound(client.id)
    if (access.isAttached) sessions.detach(client.id, performance.now(), client.sessionExpiryMs)
  }

  function addWill (connection: Connection, client: Mqtt5Client, ofConnect: Will): void {
    const { topic, qos, retain, messageExpiryS } = ofConnect
    // The CONNECT that they are views of may lie in a larger chunk.
    const payload = ownCopy(ofConnect.payload)
    const forwarded = ofConnect.forwarded === null ? null : ownCopy(ofConnect.forwarded)
    const will: Will = { topic, payload, qos, retain, messageExpiryS, forwarded }
    const publish = () => {
      const properties = toProperties(forwarded, messageExpiryS)
      const packet = toAnyPublish({ cmd: 'publish', topic, payload, qos, retain, dup: false, clientId: client.id, properties })
      publishes.submit(connection, packet, passUnacknowledged, true)
    }
    const { principal = null, expiresAtMs } = connection.access
    // It is published when its session ends, at the latest.
    wills.add(client.id, client.willDelayMs, { will, principal, expiresAtMs, publish, bytes: toWillBytes(will) })
  }

  return { connectionOf, observer }
}
