/**
 * Membership in the consumer group, by Kafka's own protocol (KIP-848).
 *
 *   joining ──> member ── each interval: owned partitions ──> broker ──> assigned partitions
 *      ▲           └── fenced, unknown, or asked to rejoin ──┐
 *      └── all partitions are lost ──────────────────────────┘
 *
 * The client's own consumer cannot be used: it gives a partition up before the records that it read are stored, does
 * not report new partitions, and keeps using a member id that the group has dropped.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionOptions, ConnectionPool } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { toKafkaMessage } from '../kafka/connection.ts'
import type { KafkaClient } from '../kafka/load-client.ts'
import type { SinkLimits } from './limits.ts'
import { type Assigned, toKey } from './place.ts'

/** Kafka's codes of errors after which a member joins again: UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH. */
const LOST: ReadonlySet<number> = new Set([25, 110])
const EPOCH_JOIN = 0
const EPOCH_LEAVE = -1
const KEY_OF_GROUP = 0
/** Heartbeat interval until the broker has sent its own. */
const INTERVAL_MS = 1000
/** How long the broker waits for a member to give a partition up. */
const REBALANCE_TIMEOUT_MS = 60_000
const LEAVE_MS = 2000
/**
 * Assigns each topic separately. Kafka's default, `uniform`, may give one of two sinks all readings and the other all
 * dead letters.
 */
const ASSIGNOR = 'range'
const TOLD_EVERY_MS = 30_000

export interface MembershipOptions {
  readonly client: KafkaClient
  readonly connection: ConnectionOptions & {
    readonly clientId: string
    readonly bootstrapBrokers: ReadonlyArray<{ readonly host: string, readonly port: number }>
  }
  readonly group: string
  readonly topics: readonly string[]
  readonly onAssigned: (partitions: readonly Assigned[]) => void
  /** Called when the group takes partitions away. Settles once none of their records are in a batch. */
  readonly onRevoked: (partitions: readonly Assigned[]) => Promise<void>
  /** Called with partitions that the group has already given to others. */
  readonly onLost: (partitions: readonly Assigned[]) => void
  readonly limits: SinkLimits
  readonly logger: Logger
}

export class Membership {
  readonly #options: MembershipOptions
  readonly #stopping = new AbortController()
  #pool: ConnectionPool | null = null
  #coordinator: { readonly host: string, readonly port: number } | null = null
  #memberId = randomUUID()
  #epoch = EPOCH_JOIN
  #owned = new Map<string, Assigned>()
  #intervalMs = INTERVAL_MS
  #heardAtMs = -Infinity
  #toldAtMs = -Infinity
  #isRejoining = false
  #changes = 0
  #running: Promise<void> = Promise.resolve()

  constructor (options: MembershipOptions) {
    this.#options = options
  }

  /** Whether the group knows this member and has answered lately. */
  get isMember (): boolean {
    const patienceMs = 2 * this.#intervalMs + this.#options.limits.requestTimeoutMs
    return this.#epoch > EPOCH_JOIN && performance.now() - this.#heardAtMs < patienceMs
  }

  /** Number of changes of the assignment. */
  get changes (): number {
    return this.#changes
  }

  start (): void {
    this.#running = this.#run()
  }

  /** Leaves the group and joins it again, with new connections. */
  rejoin (): void {
    this.#isRejoining = true
  }

  /** Leaves the group, so that the others need not wait until its session times out. */
  async stop (): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#leave()
    this.#close()
  }

  async #run (): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        if (this.#isRejoining) {
          this.#isRejoining = false
          await this.#leave()
          this.#close()
          this.#lose()
        }
        // Without a pause, so that the broker learns at once which partitions were given up or taken.
        if (await this.#beat()) continue
        await sleep(this.#intervalMs, undefined, { signal }).catch(() => {})
      } catch (error) {
        await this.#fail(error)
      }
    }
  }

  /** @returns whether the assignment has changed */
  async #beat (): Promise<boolean> {
    const { client, group, topics } = this.#options
    const connection = await this.#connect()
    const response = await client.consumerGroupHeartbeatV1.api.async(
      connection, group, this.#memberId, this.#epoch, null, null, REBALANCE_TIMEOUT_MS, [...topics], null, ASSIGNOR, this.#toOwned())
    this.#heardAtMs = performance.now()
    this.#epoch = response.memberEpoch
    if (response.heartbeatIntervalMs > 0) this.#intervalMs = response.heartbeatIntervalMs
    return response.assignment !== null && await this.#adopt(response.assignment.topicPartitions)
  }

  async #adopt (topicPartitions: ReadonlyArray<{ readonly topicId: string, readonly partitions: readonly number[] }>): Promise<boolean> {
    const assigned = new Map(topicPartitions.flatMap(({ topicId, partitions }) =>
      partitions.map((partition): [string, Assigned] => [toKey({ topicId, partition }), { topicId, partition }])))
    const revoked = [...this.#owned].flatMap(([key, place]) => assigned.has(key) ? [] : [place])
    const added = [...assigned].flatMap(([key, place]) => this.#owned.has(key) ? [] : [place])
    if (revoked.length === 0 && added.length === 0) return false
    this.#changes++
    this.#options.logger.info({ partitions: assigned.size, added: added.length, revoked: revoked.length }, 'the group assigns partitions')
    if (revoked.length > 0) await this.#options.onRevoked(revoked)
    this.#owned = assigned
    if (added.length > 0) this.#options.onAssigned(added)
    return true
  }

  #toOwned (): Array<{ topicId: string, partitions: number[] }> {
    const topics = new Map<string, number[]>()
    for (const { topicId, partition } of this.#owned.values()) {
      const partitions = topics.get(topicId)
      if (partitions === undefined) topics.set(topicId, [partition])
      else partitions.push(partition)
    }
    return [...topics].map(([topicId, partitions]) => ({ topicId, partitions }))
  }

  async #fail (error: unknown): Promise<void> {
    const { logger } = this.#options
    const code = (error as { response?: { errorCode?: number } }).response?.errorCode
    if (code !== undefined && LOST.has(code)) {
      logger.warn('the group has dropped this sink, which joins it again')
      this.#lose()
      return
    }
    this.#close()
    if (performance.now() - this.#toldAtMs > TOLD_EVERY_MS) {
      this.#toldAtMs = performance.now()
      logger.error({ reason: toKafkaMessage(error) }, 'the consumer group does not answer; trying again')
    }
    await sleep(INTERVAL_MS, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }

  #lose (): void {
    const lost = [...this.#owned.values()]
    this.#owned = new Map()
    this.#epoch = EPOCH_JOIN
    this.#memberId = randomUUID()
    if (lost.length === 0) return
    this.#changes++
    this.#options.onLost(lost)
  }

  async #connect () {
    const { client, connection, group, limits } = this.#options
    const { clientId, bootstrapBrokers, ...options } = connection
    this.#pool ??= new client.ConnectionPool(clientId, { ...options, requestTimeout: limits.requestTimeoutMs })
    if (this.#coordinator === null) {
      const any = await this.#pool.getFirstAvailable([...bootstrapBrokers])
      const { coordinators } = await client.findCoordinatorV6.api.async(any, KEY_OF_GROUP, [group])
      const [coordinator] = coordinators
      if (coordinator === undefined || coordinator.errorCode !== 0) {
        throw new Error(coordinator?.errorMessage ?? 'the group has no coordinator now')
      }
      this.#coordinator = { host: coordinator.host, port: coordinator.port }
    }
    return await this.#pool.get(this.#coordinator)
  }

  async #leave (): Promise<void> {
    const { client, group } = this.#options
    if (this.#epoch === EPOCH_JOIN) return
    const leaving = this.#connect().then((connection) => client.consumerGroupHeartbeatV1.api.async(
      connection, group, this.#memberId, EPOCH_LEAVE, null, null, -1, null, null, null, null))
    // If the broker does not answer, the session of this member times out.
    await Promise.race([leaving.catch(() => {}), sleep(LEAVE_MS, undefined, { ref: false })])
  }

  /** Closes the connections: one on which a request timed out is not used again. */
  #close (): void {
    this.#pool?.close().catch(() => {})
    this.#pool = null
    this.#coordinator = null
  }
}
