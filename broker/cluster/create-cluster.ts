import type { Logger } from 'pino'
import type { Cluster, ClusterParts } from '../cluster.ts'
import { createCopies } from './copies.ts'
import { Joining } from './joining.ts'
import { KEYS } from './keys.ts'
import { CLUSTER_LIMITS, type ClusterLimits, within } from './limits.ts'
import { createMachinery } from './machinery.ts'
import { toFactWarnings } from './redis/redis-facts.ts'
import { createSharedRates } from './shared-rates.ts'
import { CopiedWills } from './wills/copied-wills.ts'
import { createWillOwnership } from './wills/ownership.ts'

export interface ClusterOptions {
  /** `redis://` or `rediss://`, with user and password. */
  readonly url: string
  /** Unique to this process. */
  readonly id: string
  /** Instead of {@link CLUSTER_LIMITS}, one by one. */
  readonly limits?: Partial<ClusterLimits>
  readonly logger: Logger
}

/** Counters since the start of this gateway, and gauges, which say "now". */
export interface ClusterStatistics {
  /** Whether Redis answers, now. */
  readonly isUp: boolean
  /** Live gateways, this one included, now. */
  readonly gateways: number
  /** Messages to and from other gateways. */
  readonly sent: number
  readonly received: number
  /** Messages to other gateways that Redis did not take. */
  readonly dropped: number
  /** Entries of other gateways that did not come. */
  readonly missed: number
  /** Bytes that wait for Redis, now. */
  readonly outboxBytes: number
  readonly sessionsFetched: number
  readonly sessionsGiven: number
  readonly sessionsAdopted: number
  /** Wills of clients of dead gateways that were published here. */
  readonly willsPublished: number
  /** Clients that are served without Redis knowing, now. */
  readonly unclaimed: number
  /** Commands that Redis did not answer in time. */
  readonly timeouts: number
}

/** A {@link Cluster} with its name, statistics and warnings. */
export interface RedisCluster extends Cluster {
  /** Name of this gateway in Redis. */
  readonly name: string
  statistics (): ClusterStatistics
  /** Sentences for an operator: what does not work now. */
  warnings (): string[]
}

const ARRIVAL_POLL_MS = 5

/** Composes a cluster over Redis. See README.md in this folder. */
export function createCluster ({ url, id, limits: given, logger }: ClusterOptions): RedisCluster {
  const limits: ClusterLimits = { ...CLUSTER_LIMITS, ...given }
  let attached: ClusterParts | null = null
  const parts = (): ClusterParts => attached!
  const joining: Joining = new Joining({ parts: () => machinery, limits, logger })
  const copiedWills = new CopiedWills((clientId) => parts().wills.of(clientId))
  const machinery = createMachinery({ url, id, limits, logger, parts, joining, copiedWills })
  const { link, reader, retainedReader, members, interest, outbox, inbox, store, reclaim, retained } = machinery
  const { forwarding, claims, handover, adoption } = machinery
  const links = [link, reader, retainedReader]
  const arrivals = { setAside: () => forwarding.passage.setAside, settled: arrived }
  const { whenCopied } = createCopies({ store, outbox, arrivals, joining, timeoutMs: limits.commandTimeoutMs })
  let upkeep: NodeJS.Timeout | null = null
  let arriving: Promise<void> | null = null

  function lookAround (): void {
    if (!joining.isJoined) return
    interest.resend()
    adoption.lookAround()
    store.flush().catch(() => {})
    reclaim.takeUnclaimed().catch((error: unknown) => { logger.debug({ err: error }, 'clients are not claimed yet') })
  }

  /** All callers share one poll: there may be hundreds of them. */
  function arrived (): Promise<void> {
    arriving ??= pollArrivals().finally(() => { arriving = null })
    return arriving
  }

  async function pollArrivals (): Promise<void> {
    while (handover.isHolding || adoption.isUnderWay) await new Promise((resolve) => { setTimeout(resolve, ARRIVAL_POLL_MS) })
  }

  function whenArrived (): Promise<void> | null {
    return handover.isHolding || adoption.isUnderWay ? within(arrived(), limits.commandTimeoutMs) : null
  }

  /** A resumed session must have what a SUBACK has promised, because its client does not subscribe again. */
  function whenKnown (): Promise<void> | null {
    const known = interest.whenKnown()
    const copied = whenCopied()
    return known === null || copied === null ? known ?? copied : Promise.all([known, copied]).then(() => {})
  }

  return {
    passage: forwarding.passage,
    journal: store,
    attach (given) { attached = given },
    claim: (claim) => claims.claim(claim),
    claimAnnouncement: createAnnouncementClaims({ link, members, joining, limits, logger }),
    ...createWillOwnership({ store, copiedWills, joining, timeoutMs: limits.commandTimeoutMs }),
    changed: (clientId) => {
      store.changed(clientId)
      reclaim.left(clientId)
    },
    retainedChanged: (topic, isExpired) => { retained.changed(topic, isExpired) },
    forget: (device) => { for (const gateway of members.all) outbox.add(gateway, { t: 'erase', device }) },
    forward: (message) => { forwarding.forward(message) },
    servesShare: (filter) => forwarding.servesShare(filter),
    isWatched: (topic) => joining.isInDoubt || interest.isWatched(topic),
    wants: (filter, isWanted) => { interest.wants(filter, isWanted) },
    whenKnown,
    whenCopied,
    whenArrived,
    get name () { return members.self },
    statisticsElsewhere: () => members.tellings,
    spend: createSharedRates({ link, joining }),

    async start () {
      for (const each of links) each.start()
      upkeep = setInterval(lookAround, limits.renewIntervalMs)
      const deadlineMs = performance.now() + limits.commandTimeoutMs
      while (!joining.isJoined && performance.now() < deadlineMs) await new Promise((resolve) => { setTimeout(resolve, 10) })
      if (!joining.isJoined) logger.warn('Redis does not answer: this gateway starts without the others')
    },

    async stop () {
      if (upkeep !== null) clearInterval(upkeep)
      const wasJoined = joining.isJoined
      // An adoption is finished first: another gateway would find its sessions incomplete.
      if (wasJoined) await within(Promise.resolve(adoption.whenDone()), limits.commandTimeoutMs)
      joining.stop()
      members.stop()
      inbox.stop()
      retained.stop()
      if (wasJoined) {
        retained.flush()
        await within(Promise.all([outbox.settled(), store.flush()]), limits.commandTimeoutMs)
        await within(members.leave(), limits.commandTimeoutMs).catch(() => {})
      }
      store.stop()
      for (const each of links) each.close()
    },

    statistics: () => ({
      isUp: joining.isJoined,
      gateways: members.live.length + 1,
      sent: outbox.sent,
      received: forwarding.received,
      dropped: outbox.dropped,
      missed: inbox.missed,
      outboxBytes: outbox.bytes,
      sessionsFetched: claims.fetched,
      sessionsGiven: handover.given,
      sessionsAdopted: adoption.adopted,
      willsPublished: attached?.wills.published ?? 0,
      unclaimed: claims.unclaimed.size,
      timeouts: links.reduce((sum, each) => sum + each.timeouts, 0)
    }),

    warnings: () => [
      ...(joining.isJoined
        ? []
        : [`Redis has not answered for ${Math.round(joining.downForMs / 1000)} s: sessions, ` +
          'subscriptions and retained messages are those of this gateway alone; readings are stored as ever']),
      ...(link.refusal === null ? [] : [`Redis refuses writes: ${link.refusal}`]),
      ...(store.fault === null ? [] : [`Redis does not take sessions: ${store.fault}`]),
      ...(joining.facts === null ? [] : toFactWarnings(joining.facts))
    ]
  }
}

interface AnnouncementClaimsOptions extends Pick<ReturnType<typeof createMachinery>, 'link' | 'members'> {
  readonly joining: Joining
  readonly limits: ClusterLimits
  readonly logger: Logger
}

/** @see Cluster.claimAnnouncement */
function createAnnouncementClaims ({ link, members, joining, limits, logger }: AnnouncementClaimsOptions) {
  return async (id: string): Promise<'granted' | 'refused' | 'unknown'> => {
    if (!joining.isJoined) return 'unknown'
    try {
      const reply = await link.call('SET', KEYS.announcement(id), members.self, 'NX', 'PX', limits.announcementMs)
      return reply === null ? 'refused' : 'granted'
    } catch (error) {
      logger.debug({ err: error }, 'an announcement is published by each gateway to its own subscribers')
      return 'unknown'
    }
  }
}
