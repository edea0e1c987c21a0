import type { Principal } from '../schemas/principal.ts'
import type { Connections } from './connections.ts'
import type { PublishedMessage } from './deliver/fan-out.ts'
import type { CurrentPassage } from './session/held-deliveries.ts'
import type { RetainedMessages } from './session/retained.ts'
import type { SessionJournal } from './session/session-journal.ts'
import type { Sessions } from './session/sessions.ts'
import type { KeptWills } from './wills/will.ts'

/** Statistics that are published as sums over all gateways; the names are those of `BrokerStatistics`. */
export type SharedStatistics =
  Readonly<Record<'clientsConnected' | 'packetsReceived' | 'publishesReceived' | 'bytesReceived' | 'subscriptions', number>>

/** What a cluster uses of the broker. */
export interface ClusterParts {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly retained: RetainedMessages
  readonly wills: KeptWills
  readonly statistics: () => SharedStatistics
  /** Delivers a message of another gateway to subscribers of this one. */
  readonly deliverHere: (message: PublishedMessage) => void
  /** Drops what this gateway keeps of a device. */
  readonly forgetHere: (device: string) => void
}

/** A CONNECT whose principal is known. */
export interface ClientClaim {
  readonly clientId: string
  readonly principal: Principal | null
  /** The client does not want its earlier session. */
  readonly startsAnew: boolean
}

/** A bound on how often something may be done; a token is spent each time. */
export interface Rate {
  /** What is limited. */
  readonly name: string
  /** Tokens refilled each second. */
  readonly perSecond: number
  /** Tokens of a full bucket. */
  readonly burst: number
}

/** Other gateways, as the fan-out sees them. */
export interface Remote {
  /** Origin and number of the message that is being routed. */
  readonly passage: CurrentPassage
  /** Forwards a message that was published here to the gateways that have subscribers for it. */
  forward (message: PublishedMessage): void
  /** Whether the message that is being routed is this gateway's turn at a shared subscription. */
  servesShare (filter: string): boolean
  /** Whether a subscriber elsewhere may want `vital/{device}`; true may be wrong, false never is. */
  isWatched (topic: string): boolean
  /** A filter has its first subscriber here, or has lost its last. */
  wants (filter: string, isWanted: boolean): void
  /**
   * Settles once every other live gateway knows what is wanted here, and Redis has the subscriptions of persistent
   * sessions; `null`: they do. A SUBACK waits for it.
   */
  whenKnown (): Promise<void> | null
  /**
   * Settles once Redis has the deliveries to persistent sessions of all messages that were routed before, and the
   * changes of these sessions; `null`: it has them, or does not answer. Earlier calls settle first. An acknowledgement
   * waits for it. Rejects when another gateway has adopted the sessions meanwhile: nothing may be acknowledged then.
   */
  readonly whenCopied: () => Promise<void> | null
  /**
   * Settles once no session is on its way here, or after a time limit; `null`: none is. Until then a message for such a
   * session is in memory alone, while the packet id of a QoS 2 publish may be in Redis already. A gateway that took
   * over both publisher and subscriber would not fan the message out.
   */
  readonly whenArrived: () => Promise<void> | null
  /**
   * Whether this gateway may publish the will of a client that has gone: another one does that once it has taken this
   * gateway for dead. `null`: it may.
   */
  whenWillIsOurs (clientId: string): Promise<boolean> | null
}

/** Several gateways as one broker. See cluster/README.md; without one the broker stands alone. */
export interface Cluster extends Remote {
  readonly journal: SessionJournal
  /** Called once, by the broker that the cluster serves. */
  attach (parts: ClusterParts): void
  /**
   * Makes a client id this gateway's own, and fetches its session. Never rejects: where Redis does not answer the client
   * is let in with what this gateway has.
   * @returns `refused` when its session belongs to another principal
   */
  claim (claim: ClientClaim): Promise<'granted' | 'refused'>
  /**
   * Settles once Redis has the will of a client that is about to get its CONNACK, or after a time limit. Never rejects.
   */
  whenWillIsKept (clientId: string): Promise<void>
  /** The connection of a client, or its session apart from the deliveries, may have changed. */
  changed (clientId: string): void
  retainedChanged (topic: string, isExpired: boolean): void
  /**
   * Whether this gateway publishes an announcement that all gateways have received. Never rejects.
   * @param id - of the announcement
   * @returns `unknown`: Redis does not say
   */
  claimAnnouncement (id: string): Promise<'granted' | 'refused' | 'unknown'>
  /**
   * Tells the other gateways how many tokens were spent here since the last time.
   * @returns tokens that are left of all gateways together, by key; `null`: Redis is away
   * @throws when Redis does not answer
   */
  spend (rate: Rate, spent: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number> | null>
  /** Drops what other gateways keep of a device. */
  forget (device: string): void
  /** Statistics of each other live gateway, up to a second old. */
  statisticsElsewhere (): readonly SharedStatistics[]
  /** Joins the other gateways. Settles also where Redis does not answer. */
  start (): Promise<void>
  /** Called once the clients have left: hands over their sessions. */
  stop (): Promise<void>
}
