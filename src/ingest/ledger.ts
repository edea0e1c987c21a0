/**
 * The ledger: what became of every reading that came in.
 *
 *   received = stored + duplicate + dead_lettered + refused + pending
 *
 * The unit is one reading; an undecodable payload counts as one. Each input is entered as received once, and once more as
 * what it became. `pending` is not computed from the other terms, or the equation could never fail: the ingest buffer counts it.
 */
import type { RefusalReason, Reason } from '../../schemas/reason.ts'

export const TRANSPORTS = ['mqtt', 'http'] as const
export type Transport = typeof TRANSPORTS[number]

interface Account {
  received: number
  stored: number
  duplicate: number
  deadLettered: Map<Reason, number>
  refused: Map<RefusalReason, number>
}

export class Ledger {
  readonly #accounts: Record<Transport, Account> = { mqtt: createAccount(), http: createAccount() }

  received (transport: Transport, readings: number): void {
    this.#accounts[transport].received += readings
  }

  stored (transport: Transport, readings: number): void {
    this.#accounts[transport].stored += readings
  }

  duplicate (transport: Transport, readings: number): void {
    this.#accounts[transport].duplicate += readings
  }

  deadLettered (transport: Transport, reason: Reason, readings: number): void {
    add(this.#accounts[transport].deadLettered, reason, readings)
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
  return { received: 0, stored: 0, duplicate: 0, deadLettered: new Map(), refused: new Map() }
}

function add<Key> (counts: Map<Key, number>, key: Key, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count)
}
