import type { Principal } from '../schemas/principal.ts'
import type { Connections } from './connections.ts'
import type { PublishedMessage } from './deliver/fan-out.ts'
import type { CurrentPassage } from './session/held-deliveries.ts'
import type { RetainedMessages } from './session/retained.ts'
import type { SessionJournal } from './session/session-journal.ts'
import type { Sessions } from './session/sessions.ts'

/** What several gateways tell of all of them together, by the names of `BrokerStatistics`. */
export type SharedStatistics =
  Readonly<Record<'clientsConnected' | 'packetsReceived' | 'publishesReceived' | 'bytesReceived' | 'subscriptions', number>>

/** What a cluster uses of the broker. */
export interface ClusterParts {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly retained: RetainedMessages
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
  /** Its earlier session is not wanted. */
  readonly startsAnew: boolean
}

/** A bound on how often something may be done; a token is spent each time. */
export interface Rate {
  /** Of what. */
  readonly name: string
  /** Tokens refilled each second. */
  readonly perSecond: number
  /** Tokens of a full bucket. */
  readonly burst: number
}

/** Other gateways, as the fan-out sees them. */
export interface Remote {
  /** Of the message that is being routed. */
  readonly passage: CurrentPassage
  /** Passes a message that was published here on to the gateways with subscribers of it. */
  forward (message: PublishedMessage): void
  /** Whether this gateway has a turn at a shared subscription with the message that is being routed. */
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
   * Settles once Redis has what persistent sessions are owed of all that was routed before, and what has changed of
   * them; `null`: it has, or does not answer. What is asked for first settles first. An acknowledgement waits for it.
   * Rejects where another gateway has adopted the sessions meanwhile: then nothing may be acknowledged.
   */
  readonly whenCopied: () => Promise<void> | null
  /**
   * Settles once no session is on its way here, or after a time limit; `null`: none is. Until then what is published for it
   * is in memory alone, while the packet id of a QoS 2 publish may be in Redis: who takes both over would not fan it out.
   */
  readonly whenArrived: () => Promise<void> | null
}

/** Several gateways as one broker. See cluster/README.md; without one the broker stands alone. */
export interface Cluster extends Remote {
  readonly journal: SessionJournal
  /** Called by the broker that it is for, once. */
  attach (parts: ClusterParts): void
  /**
   * Makes a client id this gateway's own, and fetches its session. Never rejects: where Redis does not answer the client
   * is let in with what this gateway has.
   * @returns `refused` when its session belongs to another principal
   */
  claim (claim: ClientClaim): Promise<'granted' | 'refused'>
  /** What is kept of a client beside its deliveries may have changed, or its connection. */
  changed (clientId: string): void
  retainedChanged (topic: string, isExpired: boolean): void
  /**
   * Whether this gateway publishes what all gateways have heard of. Never rejects.
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
  /** Of each other live gateway, up to a second old. */
  statisticsElsewhere (): readonly SharedStatistics[]
  /** Joins the other gateways. Settles also where Redis does not answer. */
  start (): Promise<void>
  /** Its clients have left: hands over what is kept of them. */
  stop (): Promise<void>
}
