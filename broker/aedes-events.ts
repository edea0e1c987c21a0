import type { Aedes, Client, ConnackPacket } from 'aedes'
import type { Logger } from 'pino'
import { isConnectTimeout, isDrainTimeout, onBrokerError } from './aedes-client.ts'
import type { Connections } from './connections.ts'
import type { Deliverer } from './deliver/deliverer.ts'
import type { SubscriptionGuard } from './deliver/subscription-guard.ts'
import type { LimitHits } from './limit-hits.ts'

interface AedesEventsOptions {
  readonly aedes: Aedes
  readonly connections: Connections
  readonly deliverer: Deliverer
  readonly subscriptionGuard: SubscriptionGuard
  readonly hits: LimitHits
  readonly logger: Logger
}

/** Listens to the events of Aedes. */
export function observeAedes (options: AedesEventsOptions): void {
  const { aedes, connections, deliverer, subscriptionGuard, hits, logger } = options
  aedes.on('connackSent', ({ returnCode }: ConnackPacket, client: Client) => {
    const connection = connections.of(client)
    if (connection === undefined || returnCode !== 0 || !connections.ready(connection)) return
    connection.gate.open()
    deliverer.open(connection)
  })
  aedes.on('subscribe', subscriptionGuard.subscribed)
  aedes.on('unsubscribe', subscriptionGuard.unsubscribed)
  // Only the message is logged: some errors of Aedes hold the offending packet, payload and all.
  const onClientError = (client: Client, error: Error) => {
    logger.debug({ clientId: client.id, reason: error.message }, 'connection closed')
    if (isConnectTimeout(error)) hits.hit('connect_time')
    // Errors of the socket have a code.
    const reason = isDrainTimeout(error) ? 'drain_timeout' : 'code' in error ? 'lost' : 'protocol_error'
    connections.of(client)?.noteCloseReason(reason)
  }
  aedes.on('clientError', onClientError)
  aedes.on('connectionError', onClientError)
  aedes.on('keepaliveTimeout', (client) => {
    hits.hit('keepalive')
    connections.of(client)?.noteCloseReason('keepalive')
  })
  onBrokerError(aedes, (error) => { logger.error({ err: error }, 'broker error') })
}
