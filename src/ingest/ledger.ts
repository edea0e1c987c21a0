/**
 * The ledger: the outcome of every reading that was received.
 *
 *   received = stored + logged + duplicate + dead_lettered + refused + pending
 *
 * The unit is one reading; an undecodable payload counts as one. Each input is entered once as received, and once by
 * its outcome. A reading or a dead letter that is in Kafka is `logged`: a sink receives it from there and enters its
 * final outcome in a ledger of its own. `pending` is not computed from the other terms, or the equation could never
 * fail: the batcher and the replayer count it.
 */
import type { RefusalReason, Reason } from '../../schemas/reason.ts'
import type { Transport } from '../../schemas/transport.ts'
import type { Submission } from './submission.ts'

/** Outcomes of the readings of one transport. */
export interface Account {
  received: number
  stored: number
  logged: number
  duplicate: number
  deadLettered: Map<Reason, number>
  refused: Map<RefusalReason, number>
}

export class Ledger {
  readonly #accounts: Record<Transport, Account> = {
    mqtt: createAccount(), http: createAccount(), grpc: createAccount(), spool: createAccount(), kafka: createAccount()
  }

  received (transport: Transport, readings: number): void {
    this.#accounts[transport].received += readings
  }

  /**
   * Enters the outcome of a submission: committed, given up, or left to the spool.
   * @returns units of it that are still undecided
   */
  decided (submission: Submission, outcome: 'stored' | 'logged' | 'abandoned' | 'spooled'): number {
    const { transport, readings, letters, rejections, duplicates } = submission
    const account = this.#accounts[transport]
    if (outcome === 'logged') {
      account.logged += submission.units
      return 0
    }
    const decided = outcome === 'stored' ? readings.length : submission.decided?.size ?? 0
    account.stored += decided - rejections.length - duplicates
    account.duplicate += duplicates
    if (rejections.length > 0) {
      if (submission.isAllOrNothing) this.refused(transport, 'database_rejected', rejections.length)
      else add(account.deadLettered, 'database_rejected', rejections.length)
    }
    if (outcome === 'stored') {
      for (const letter of letters) add(account.deadLettered, letter.reason, 1)
      return 0
    }
    const undecided = readings.length - decided + letters.length
    if (outcome === 'spooled') return undecided
    if (undecided > 0) this.refused(transport, 'unavailable', undecided)
    return 0
  }

  refused (transport: Transport, reason: RefusalReason, readings: number): void {
    add(this.#accounts[transport].refused, reason, readings)
  }

  /** The account of one transport, for the metrics. */
  account (transport: Transport): Readonly<Account> {
    return this.#accounts[transport]
  }
}

function createAccount (): Account {
  return { received: 0, stored: 0, logged: 0, duplicate: 0, deadLettered: new Map(), refused: new Map() }
}

function add<Key> (counts: Map<Key, number>, key: Key, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count)
}
