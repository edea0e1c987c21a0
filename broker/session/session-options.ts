import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { DeliveryMemory } from './delivery-memory.ts'
import type { RetainedSource } from './retained-copies.ts'
import type { SessionJournal } from './session-journal.ts'

/** What all sessions of a broker share. */
export interface SessionOptions {
  readonly limits: Pick<BrokerLimits,
    'queuedMessagesPerSessionMax' | 'queuedBytesPerSessionMax' | 'subscriberBufferBytesMax'>
  readonly hits: LimitHits
  readonly memory: DeliveryMemory
  /** A delivery was dropped, because its subscriber does not read. */
  readonly onUnread: () => void
  readonly retained: RetainedSource
  /** Of persistent sessions; `null`: none. */
  readonly journal: SessionJournal | null
  /** Settles once the journal survives the end of this process; `null`: there is none, or it does. */
  readonly whenCopied: (() => Promise<void> | null) | null
}
