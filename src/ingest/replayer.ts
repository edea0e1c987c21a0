/**
 * The replayer: brings spooled batches into PostgreSQL, oldest first, beside new traffic.
 *
 * One batch at a time on a connection of its own, while new traffic has two: so the backlog shrinks whenever PostgreSQL
 * takes more than comes in, and new readings never wait behind old ones. Order does not matter to the result.
 * The first batch after an outage is the trial on which the circuit closes.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { classifyError } from '../../db/sqlstate.ts'
import type { Circuit } from './circuit.ts'
import type { Ledger } from './ledger.ts'
import { decodeSubmissions } from './spool/codec.ts'
import type { Position } from './spool/reader.ts'
import type { Spool } from './spool/spool.ts'
import { Submission } from './submission.ts'

/** A missed wake-up costs no longer than this; also the pause after a disk that cannot be read. */
const IDLE_MS = 1000

export interface ReplayerOptions {
  readonly spool: Spool
  readonly circuit: Circuit
  readonly ledger: Ledger
  readonly logger: Logger
  /** Of the journal: rejects when PostgreSQL does not take it in time. */
  readonly write: (submissions: readonly Submission[]) => Promise<void>
  /** Whether new traffic waits for PostgreSQL. */
  readonly isBusy: () => boolean
}

export class Replayer {
  readonly #options: ReplayerOptions
  readonly #stopping = new AbortController()
  #pending: number
  #replayed = 0
  /** Of the spool's damage, what the ledger knows. */
  #damaged = 0
  #wake: (() => void) | null = null
  #running: Promise<void> = Promise.resolve()

  constructor (options: ReplayerOptions) {
    this.#options = options
    this.#pending = options.spool.readings
    options.ledger.received('spool', this.#pending)
  }

  /** Units of the ledger that lie in the spool. */
  get pending (): number {
    return this.#pending
  }

  /** Units brought into PostgreSQL since the start. */
  get replayed (): number {
    return this.#replayed
  }

  /** Units moved from the batcher into the spool. */
  add (units: number): void {
    this.#pending += units
  }

  start (): void {
    this.#running = this.#run()
  }

  /** There may be something to do: a batch was spooled, or the circuit changed. */
  wake (): void {
    this.#wake?.()
  }

  /** What is not replayed by then stays in the spool. */
  async stop (): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#running
  }

  async #run (): Promise<void> {
    const { spool, logger } = this.#options
    while (!this.#stopping.signal.aborted) {
      let record
      try {
        record = this.#options.circuit.state === 'open' ? null : await spool.read()
      } catch (error) {
        logger.error({ err: error }, 'the spool cannot be read; trying again')
        record = null
      }
      this.#settleDamage()
      if (record === null) await this.#idle()
      else await this.#replay(record.payload, record.position)
    }
  }

  async #replay (payload: Buffer, position: Position): Promise<void> {
    const { circuit, ledger, isBusy } = this.#options
    // What an earlier run left was counted under its own transports then; in this run it comes in as `spool`.
    const { isFound } = position
    if (!position.isCounted) {
      ledger.received('spool', position.readings)
      this.#pending += position.readings
    }
    let submissions: Submission[]
    try {
      submissions = (await decodeSubmissions(payload)).map((entry) => new Submission({
        ...entry,
        transport: isFound ? 'spool' : entry.transport,
        bytes: 0,
        acceptedAtMs: 0,
        isAllOrNothing: false,
        onSettled: () => {}
      }))
    } catch (error) {
      await this.#setAside(position, error)
      return
    }
    const startedAtMs = performance.now()
    try {
      if (!await this.#write(submissions)) return
    } catch (error) {
      await this.#setAside(position, error)
      return
    }
    circuit.succeed()
    for (const submission of submissions) ledger.decided(submission, 'stored')
    this.#pending -= position.readings
    this.#replayed += position.readings
    await this.#release(position)
    // Half of the time when new readings wait: the backlog may last longer, a device must not.
    if (isBusy()) await this.#pause(performance.now() - startedAtMs)
  }

  /** What will never go in is kept on disk for a person; all that waits behind it goes on. */
  async #setAside (position: Position, cause: unknown): Promise<void> {
    this.#options.spool.setAside(position, cause)
    this.#options.ledger.refused(position.isFound ? 'spool' : 'mqtt', 'unavailable', position.readings)
    this.#pending -= position.readings
    await this.#release(position)
  }

  /**
   * Tries until PostgreSQL takes it, or the gateway stops.
   * @throws what is a defect of ours, which no further try would mend
   */
  async #write (submissions: readonly Submission[]): Promise<boolean> {
    const { circuit, write } = this.#options
    for (;;) {
      if (this.#stopping.signal.aborted) return false
      if (circuit.state === 'open') {
        await this.#idle()
        continue
      }
      try {
        await write(submissions)
        return true
      } catch (error) {
        if (classifyError(error) === 'give-up') throw error
        circuit.fail(error)
      }
    }
  }

  async #release (position: Position): Promise<void> {
    try {
      await this.#options.spool.release(position)
    } catch (error) {
      // Harmless: the next release makes up for it, and until then a restart replays more.
      this.#options.logger.warn({ err: error }, 'the read position of the spool could not be written')
    }
  }

  /** What the disk destroyed leaves the ledger's pending; the spool has logged where it lay. */
  #settleDamage (): void {
    const { spool, ledger } = this.#options
    const lost = spool.damage.readings - this.#damaged
    if (lost === 0) return
    this.#damaged += lost
    ledger.refused('spool', 'unavailable', lost)
    this.#pending -= lost
  }

  async #idle (): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, IDLE_MS).unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = null
  }

  async #pause (ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}
