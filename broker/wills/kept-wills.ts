import type { Logger } from 'pino'
import type { Principal } from '../../schemas/principal.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { FanOut } from '../deliver/fan-out.ts'
import { toProperties } from '../mqtt5/publish-handler.ts'
import type { Wills } from '../mqtt5/wills.ts'
import type { Dequeue } from '../publish/acknowledgement-queue.ts'
import type { createAuthorizePublish } from '../publish/authorize-publish.ts'
import { toMessage } from '../publish/hold-until-durable.ts'
import { toAnyPublish } from '../publish/published-packet.ts'
import { createAbsentConnection } from './absent-connection.ts'
import { type KeptWill, type KeptWills, toWillBytes } from './will.ts'

/** Whether a principal that another gateway let in may still be connected. */
export type IsCurrent = (principal: Principal | null) => boolean | Promise<boolean>

interface KeptWillsOptions {
  readonly connections: Pick<Connections, 'holderOf'>
  /** Those that wait for their delay. */
  readonly wills: Wills
  readonly hold: Dequeue<Connection> & { readonly isStopped: boolean }
  readonly publishes: Pick<ReturnType<typeof createAuthorizePublish>, 'submit'>
  readonly fanOut: FanOut
  /** Without it every principal counts. */
  readonly isCurrent?: IsCurrent | undefined
  readonly logger: Logger
}

/** The wills of this gateway, for a copy of them, and those that come from dead gateways. */
export function createKeptWills (options: KeptWillsOptions): KeptWills {
  const { connections, wills, hold, publishes, fanOut, isCurrent = () => true, logger } = options
  const state = { published: 0 }

  /** Of a client that is connected. */
  function ofHolder (clientId: string): KeptWill | null {
    const holder = connections.holderOf(clientId)
    if (holder === undefined) return null
    const { client, access: { principal = null, expiresAtMs } } = holder
    const { will, willDelayMs: delayMs, protocolLevel } = client
    // Once it has closed, its will is published or dropped.
    if (will === null || client.closed || client.hasDisconnected) return null
    return { source: will, will, isMqtt5: protocolLevel === 5, delayMs, dueMs: null, principal, expiresAtMs }
  }

  function ofWaiting (clientId: string): KeptWill | null {
    const waiting = wills.find(clientId)
    if (waiting === undefined) return null
    const { will, dueMs, principal, expiresAtMs } = waiting
    return { source: waiting, will, isMqtt5: true, delayMs: 0, dueMs, principal, expiresAtMs }
  }

  async function publish (clientId: string, kept: KeptWill): Promise<void> {
    const { principal, expiresAtMs, isMqtt5, will: { topic, payload, qos, retain, messageExpiryS, forwarded } } = kept
    if (expiresAtMs <= Date.now() || !await isCurrent(principal)) {
      logger.info({ clientId }, 'the will of a client of a dead gateway is dropped: its credentials have ended')
      return
    }
    if (hold.isStopped) return
    const properties = isMqtt5 ? { clientId, properties: toProperties(forwarded, messageExpiryS) } : {}
    const packet = toAnyPublish({ cmd: 'publish', topic, payload, qos, retain, dup: false, ...properties })
    const connection = createAbsentConnection(clientId, kept, hold)
    await new Promise<void>((resolve) => {
      publishes.submit(connection, packet, (error, packet, _connection, outcome) => {
        setImmediate(() => {
          if (error === null && (outcome === 'relayed' || typeof outcome !== 'string')) {
            state.published++
            fanOut(toMessage(packet))
          }
          resolve()
        })
      }, true)
    })
  }

  /** One that waited may be due in any turn, so nothing waits for it. */
  function publishAlone (clientId: string, kept: KeptWill): void {
    publish(clientId, kept).catch((error: unknown) => {
      logger.warn({ clientId, err: error }, 'the will of a client of a dead gateway was not published')
    })
  }

  return {
    get published () { return state.published },
    of: (clientId) => ofHolder(clientId) ?? ofWaiting(clientId),
    admits: (count, bytes) => wills.admits(count, bytes),
    publish,
    wait (clientId, kept) {
      const { will, dueMs, delayMs, principal, expiresAtMs } = kept
      wills.add(clientId, dueMs === null ? delayMs : dueMs - performance.now(), {
        will, principal, expiresAtMs, bytes: toWillBytes(will), publish: () => { publishAlone(clientId, kept) }
      })
    },
    give (clientId) {
      wills.cancel(clientId)
      const holder = connections.holderOf(clientId)
      holder?.client.dropWill()
      holder?.destroy('unavailable')
    }
  }
}
