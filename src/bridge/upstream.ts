/**
 * The external broker: one connection at a time, a new one when it ends, and its statistics and warnings.
 *
 * Messages that are held when a connection ends are still stored by ingest, but not acknowledged. The broker sends them
 * again, and the identity of a reading makes the second one a duplicate. So every acknowledged message is durable here,
 * and a reading is stored once, whichever side fails at any time.
 */
import type { Logger } from 'pino'
import type { Ingest } from '../../broker/ingest.ts'
import type { BridgeConfig } from '../config/bridge-config.ts'
import { ConfigError } from '../config/config-error.ts'
import { openConnection, type UpstreamConnection } from './connection.ts'
import { keepConnected } from './keep-connected.ts'
import type { BridgeLimits } from './limits.ts'
import type { MemberFile } from './member-file.ts'
import { createNotes } from './notes.ts'
import { openSocket, readPassword } from './open-socket.ts'
import { UpstreamError } from './upstream-error.ts'
import type { Window } from './window.ts'

/** The next start would then believe that there was no session before. */
const NOT_NOTED = 'bridge-session.json cannot be written; a session that the broker drops may go unnoticed'
const PLAIN = 'readings and the password cross the network to the broker unencrypted: use mqtts:// in VITAL_BRIDGE_URL'

interface UpstreamOptions {
  readonly config: BridgeConfig
  readonly member: MemberFile
  readonly ingest: Ingest
  readonly limits: BridgeLimits
  readonly packetBytesMax: number
  readonly logger: Logger
}

/** See the top of this file. Connects after `start`. */
export function createUpstream ({ config, member, ingest, limits, packetBytesMax, logger }: UpstreamOptions) {
  const filter = toFilter(config)
  const { clientId } = member
  const stopping = new AbortController()
  const { signal } = stopping
  const notes = createNotes({ toldMs: limits.toldMs, logger })
  const { counts } = notes
  let { hasSession, oldFilter } = member
  let current: { readonly connection: UpstreamConnection, readonly window: Window } | null = null
  let isPaused = false
  let fault: string | null = 'the broker has not answered yet'
  let resubmitTimer: NodeJS.Timeout | null = null

  function deviceOf (topic: string): string | null {
    const device = config.topic.deviceOf(topic)
    if (device === null) notes.onForeign()
    return device
  }

  /** Called when the window has changed: reading may resume, and refused messages are tried again later. */
  function onChange (): void {
    current?.connection.update()
    if (isPaused || current?.window.hasRefused !== true) return
    resubmitTimer ??= setTimeout(() => {
      resubmitTimer = null
      if (!isPaused) current?.window.resubmit()
    }, limits.resubmitMs).unref()
  }

  function onSubscribed (): void {
    counts.subscribed++
    fault = null
    logger.info({ broker: toAddress(config), filter, clientId, resumed: notes.isSessionPresent }, 'subscribed')
    hasSession = true
    oldFilter = null
    member.noteSession().catch((error: unknown) => { logger.error({ err: error }, NOT_NOTED) })
  }

  async function connectOnce (onOutcome: () => void): Promise<void> {
    const login = config.login === null
      ? null
      : { username: config.login.username, password: await readPassword(config.login.passwordFile) }
    const socket = await openSocket(config, { timeoutMs: limits.connectTimeoutMs, signal })
    const { ended, ...opened } = openConnection({
      clientId,
      ingest,
      socket,
      login,
      hasSession,
      filter,
      oldFilter,
      deviceOf,
      limits,
      packetBytesMax,
      isPaused: () => isPaused,
      onChange,
      onAcknowledged (messages) { counts.acknowledged += messages },
      onMessage: notes.onMessage,
      onTerms: notes.onTerms,
      onSubscribed () {
        onSubscribed()
        onOutcome()
      }
    })
    current = opened
    if (signal.aborted) opened.connection.close()
    const error = await ended
    current = null
    notes.onEnd()
    if (error !== null) throw error
  }

  const keeping = keepConnected({
    connectOnce,
    limits,
    signal,
    onFault (error) {
      if (fault !== error.message) logger.error({ err: error }, 'no connection to the broker; trying again')
      fault = error.message
    }
  })

  return {
    /** Counts and state, for metrics. */
    statistics: () => ({
      ...counts,
      isSubscribed: current?.connection.isSubscribed ?? false,
      isReading: current?.connection.isReading ?? false,
      heldMessages: current?.window.size ?? 0,
      heldBytes: current?.window.bytes ?? 0
    }),
    warnings: (): string[] => [
      ...fault === null ? [] : [fault],
      ...member.left === null ? [] : [member.left],
      ...config.tls === null && !config.isLoopback ? [PLAIN] : [],
      ...notes.warnings()
    ],
    pauseReading (): void {
      isPaused = true
      current?.connection.update()
    },
    resumeReading (): void {
      isPaused = false
      current?.window.resubmit()
      current?.connection.update()
    },

    /**
     * Settles once it is subscribed, or the broker does not answer; attempts then continue.
     * @throws `ConfigError` for a fault that an operator must correct
     */
    async start (): Promise<void> {
      for (const warning of this.warnings().slice(1)) logger.warn(warning)
      await keeping.start().catch((error: unknown) => {
        if (!(error instanceof UpstreamError)) throw error
        throw new ConfigError(`vital-gateway bridge: ${error.message}`, { cause: error })
      })
    },
    /** Sends the acknowledgements that are due and disconnects; the broker keeps the session. */
    async stop (): Promise<void> {
      stopping.abort(new UpstreamError('the bridge stops'))
      if (resubmitTimer !== null) clearTimeout(resubmitTimer)
      current?.connection.close()
      await keeping.ended()
    }
  }
}

export type Upstream = ReturnType<typeof createUpstream>

/** The filter of the shared subscription (MQTT 5 §4.8.2). */
export const toFilter = ({ group, topic }: Pick<BridgeConfig, 'group' | 'topic'>): string => `$share/${group}/${topic.filter}`

/** The broker's address in messages. */
export const toAddress = ({ host, port }: Pick<BridgeConfig, 'host' | 'port'>): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
