import assert from 'node:assert/strict'
import type { FakeDatabase } from './database.ts'
import type { GatewayLimits, SimulatedGateway } from './gateway.ts'
import { MESSAGE_UNITS_MAX, type Traffic } from './traffic.ts'

/** How often the batcher looks for messages that were held too long, with a timer's rounding. */
const SWEEP_MAX_MS = 251

/** Checks that hold at every instant: the equation of the ledger, its counters, and the bounds of held readings. */
export class Books {
  readonly #limits: GatewayLimits
  readonly #traffic: Traffic
  readonly #database: FakeDatabase
  readonly #pendingMax: number
  #life = 0
  #totals: ReturnType<SimulatedGateway['totals']> = []
  /** The sum over all lives that have ended. */
  #stored = 0
  #replayed = 0
  #refused = 0

  /** @param overshoot - messages that may still come after the transports were asked to stop reading */
  constructor (limits: GatewayLimits, traffic: Traffic, database: FakeDatabase, overshoot: number) {
    this.#limits = limits
    this.#traffic = traffic
    this.#database = database
    this.#pendingMax = limits.bufferReadingsMax + (overshoot + 1) * MESSAGE_UNITS_MAX
  }

  /** The number of units that were replayed, and of units that were refused, so that their devices keep them. */
  get sums (): { replayed: number, refused: number } {
    return { replayed: this.#replayed, refused: this.#refused }
  }

  beginLife (): void {
    this.#life++
    this.#totals = []
  }

  closeLife (gateway: SimulatedGateway | null): void {
    if (gateway === null) return
    this.#stored += this.#storedNow()
    this.#replayed += gateway.replayer.replayed
    this.#refused += this.#totals.reduce((sum, { refused }) => sum + refused, 0)
  }

  check ({ batcher, replayer, totals, isStopping }: SimulatedGateway): void {
    const now = totals()
    let balance = batcher.pending + replayer.pending
    for (const [index, { received, stored, duplicate, deadLettered, refused, transport }] of now.entries()) {
      balance += stored + duplicate + deadLettered + refused - received
      if (transport !== 'spool' && transport !== 'kafka') {
        assert.equal(received, this.#traffic.unitsSent[transport],
        `everything that came over ${transport} is counted`)
      }
      const before = this.#totals[index]
      if (before === undefined) continue
      const isGrown = received >= before.received && stored >= before.stored && duplicate >= before.duplicate &&
        deadLettered >= before.deadLettered && refused >= before.refused
      assert.ok(isGrown, `a counter of ${transport} fell: ${JSON.stringify(before)} to ${JSON.stringify(now[index])}`)
    }
    assert.equal(balance, 0, `the ledger balances: ${JSON.stringify(now)}, ${batcher.pending} and ${replayer.pending} pending`)
    this.#totals = now
    if (this.#life === 1 && !isStopping()) {
      const known = now.reduce((sum, { stored, duplicate }) => sum + stored + duplicate, 0) + batcher.pending + replayer.pending
      assert.ok(this.#database.rows.size <= known + this.#database.ruledOutAndStored, 'no stored reading counts as refused')
    }
    assert.ok(batcher.pending >= 0 && replayer.pending >= 0, 'pending counts are not negative')
    assert.ok(batcher.pending <= this.#pendingMax, `${batcher.pending} readings are pending`)
    const heldMs = this.#traffic.unsettledMs
    assert.ok(heldMs <= this.#limits.ackTimeoutMs + SWEEP_MAX_MS, `a message has been held for ${heldMs} ms`)
    assert.ok(this.#stored + this.#storedNow() <= this.#database.rows.size, 'no reading counts as stored that is not, or twice')
  }

  #storedNow (): number {
    return this.#totals.reduce((sum, { stored }) => sum + stored, 0)
  }
}
