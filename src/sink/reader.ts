/**
 * Reads from Kafka: all parts, wired once, for any `Storage` (of a sink, a lake or an export):
 *
 *   membership ── assigned, revoked ──> assignment ── claimed ──> fetcher ── records ──> storage
 *                                           ▲                        ▲                      │
 *                                           └── another sink owns ───┼──────────────────────┤
 *                                                                    └────── has room ──────┘
 */
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { type Claim, claimOffset } from '../../db/queries/claim-offset.ts'
import type { Tables } from '../../db/tables.ts'
import type { KafkaConfig } from '../config/kafka-config.ts'
import { toClientOptions, toKafkaMessage } from '../kafka/connection.ts'
import type { KafkaClient } from '../kafka/load-client.ts'
import { Assignment } from './assignment.ts'
import { createCutBacks } from './cut-backs.ts'
import type { Decoded } from './decode.ts'
import { lookAtEnds } from './ends.ts'
import { createSinkErasures, type SinkErasures, toHeldWarnings } from './erasures.ts'
import { Fetcher } from './fetcher.ts'
import { createKnownTopics } from './known-topics.ts'
import { createLogBounds, type LogBounds } from './log-bounds.ts'
import type { SinkLimits } from './limits.ts'
import { Membership } from './membership.ts'
import type { SinkPartition } from './partition.ts'

/** Interval of a check for partitions that have room or a leader again. */
const LOOK_INTERVAL_MS = 1000

const BEGINS_LATER = 'a new group begins at the first record that the partition has: earlier ones were deleted'

/** Stores the records that are read. */
export interface Storage {
  /** Whether it takes records now. */
  readonly isUp: boolean
  /**
   * Finds the position, if it is not in PostgreSQL; such a storage cannot go back. If it throws, the claim is tried
   * again.
   */
  findPosition? (partition: SinkPartition, claim: Claim): Promise<Claim>
  /** A group without a position begins at the first record that the log has. Without this it begins at 0, and a person decides. */
  readonly beginsAtFirst?: boolean
  /** For `/health/ready`; empty while it is up. */
  readonly warnings: () => readonly string[]
  start (): void
  /** Called when records have arrived. */
  wake (): void
  /** Called with records that were taken and will be read again, perhaps by another process. */
  giveUp (records: readonly Decoded[]): void
  /** Settles when nothing is being stored. */
  stop (): Promise<void>
}

/** Parts of the reader that a {@link Storage} uses. */
export interface Wiring {
  readonly erasures: SinkErasures
  readonly bounds: LogBounds
  /** Partitions of this process. */
  readonly partitions: () => Iterable<SinkPartition>
  /** To be called when another process has claimed a partition. */
  readonly onReplaced: (partition: SinkPartition) => void
  /** To be called when none of a partition's records are being stored. */
  readonly onIdle: (partition: SinkPartition) => void
  /** To be called when partitions have room again. */
  readonly onRoom: () => void
}

export interface ReaderOptions<Stored extends Storage> {
  readonly client: KafkaClient
  readonly config: KafkaConfig
  readonly group: string
  readonly topics: readonly string[]
  readonly createStorage: (wiring: Wiring) => Stored
  /** application_name in PostgreSQL, and client id in Kafka. */
  readonly name: string
  readonly kysely: Kysely<Tables>
  /** Bound on the bytes of all partitions together; beyond it nothing is read. */
  readonly bytesMax: number
  readonly limits: SinkLimits
  readonly logger: Logger
}

/** @throws `ConfigError` if a file that the connection needs cannot be read */
export async function createReader<Stored extends Storage> (options: ReaderOptions<Stored>) {
  const { client, config, group, topics, name, kysely, bytesMax, limits, logger } = options
  const connection = await toClientOptions(config, name)
  const admin = new client.Admin({ ...connection, requestTimeout: limits.requestTimeoutMs })
  const known = createKnownTopics({ admin, topics, group, kysely, logger })
  const erasures = createSinkErasures({ kysely, group })
  const bounds = createLogBounds({ client, admin, connection, limits })
  let rejoins = 0
  let timer: NodeJS.Timeout | undefined
  let topicsTimer: NodeJS.Timeout | undefined

  async function claim (partition: SinkPartition): Promise<Claim> {
    const { place, erasures: ofPartition } = partition
    await cuts.goBack(partition)
    const { topic, topicId, partition: number } = place
    // Written with the claim: a group that has a position never skips anything.
    const firstOffset = storing.beginsAtFirst === true ? await bounds.findFirstOffset(place) : 0
    const claimed = await claimOffset(kysely, { consumerGroup: group, topicId, partition: number }, { topic, owner: name, firstOffset })
    if (claimed.epoch === 1 && firstOffset > 0) logger.info({ ...place, offset: firstOffset }, BEGINS_LATER)
    const claiming = { place, claim: claimed, erasures: ofPartition }
    await erasures.reload([claiming])
    if (claimed.epoch === 1) await known.noteFirst(place)
    return await storing.findPosition?.(partition, claiming.claim) ?? claiming.claim
  }

  const storing: Stored = options.createStorage({
    erasures,
    bounds,
    partitions: () => assignment.partitions,
    onReplaced: (partition) => { assignment.replaced(partition) },
    onIdle: (partition) => { assignment.idle(partition) },
    onRoom: () => { fetcher.pump() }
  })
  const assignment: Assignment = new Assignment({
    findTopic: known.find,
    claim,
    onClaimed: () => { fetcher.pump() },
    onForgotten: (records) => { storing.giveUp(records) },
    limits,
    logger
  })
  const cuts = createCutBacks({ kysely, isStopped: storing.findPosition !== undefined, limits, logger })
  const fetcher = new Fetcher({
    client,
    connection,
    admin,
    topics,
    fetchable: () => assignment.fetchable(bytesMax),
    onRecords: () => { storing.wake() },
    onCutBack: cuts.found,
    limits,
    logger
  })
  const membership = new Membership({
    client,
    connection,
    group,
    topics,
    onAssigned: (places) => { assignment.assign(places) },
    onRevoked: (places) => assignment.revoke(places),
    onLost: (places) => { assignment.lose(places) },
    limits,
    logger
  })

  function lookAtTopics (): void {
    known.look().then(() => lookAtEnds(admin, assignment.partitions)).catch((error: unknown) => {
      logger.debug({ reason: toKafkaMessage(error) }, 'the topics are not known now')
    })
  }

  function look (): void {
    assignment.look()
    fetcher.pump()
    erasures.look(assignment.partitions).then(() => { storing.wake() }, () => { /* The storage reports it. */ })
    const stuck = storing.isUp ? findStuck(assignment.partitions, limits.stuckMs) : []
    if (stuck.length === 0) return
    rejoins++
    logger.error({ partitions: stuck.length }, 'nothing was read or stored for long: this sink leaves the group and joins it again')
    fetcher.reconnect()
    membership.rejoin()
    for (const partition of assignment.partitions) partition.progressAtMs = performance.now()
  }

  function warnings (): string[] {
    const troubles = [...assignment.partitions].flatMap(({ trouble }) => trouble?.message ?? [])
    return [
      ...membership.isMember ? [] : ['the consumer group does not answer, or does not know this sink'],
      ...storing.warnings(),
      ...troubles,
      ...toHeldWarnings(assignment.partitions, limits.heldToldMs),
      ...cuts.warnings(),
      ...known.warnings()
    ]
  }

  return {
    storing,
    get partitions () { return assignment.partitions },
    get isMember () { return membership.isMember },
    /** Whether the group knows this process and all of its partitions are being stored. */
    get isReady (): boolean {
      return membership.isMember && storing.isUp &&
        [...assignment.partitions].every(({ claim, trouble }) => claim !== null && trouble === null)
    },
    get rebalances () { return membership.changes },
    get rejoins () { return rejoins },
    /** Number of positions that were moved back because brokers had cut a partition. */
    get truncations () { return cuts.moved },
    warnings,
    /** Called once PostgreSQL is ready. */
    start (): void {
      storing.start()
      membership.start()
      timer = setInterval(look, LOOK_INTERVAL_MS)
      topicsTimer = setInterval(lookAtTopics, limits.topicsMs)
      lookAtTopics()
    },
    /** Stores what was read, leaves the group and closes the connections. */
    async stop (): Promise<void> {
      clearInterval(timer)
      clearInterval(topicsTimer)
      await fetcher.stop()
      await assignment.revoke([...assignment.partitions].map(({ place }) => place), limits.drainMs)
      await Promise.all([storing.stop(), assignment.stop()])
      await membership.stop()
      await admin.close().catch(() => {})
    }
  }
}

/** Partitions that make no progress although the storage is up. */
function findStuck (partitions: Iterable<SinkPartition>, stuckMs: number): SinkPartition[] {
  const sinceMs = performance.now() - stuckMs
  return [...partitions].filter(({ claim, trouble, heldSinceMs, progressAtMs }) =>
    claim !== null && trouble === null && heldSinceMs === null && progressAtMs < sinceMs)
}
