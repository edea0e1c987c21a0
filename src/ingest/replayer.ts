/**
 * The replayer: brings spooled batches into PostgreSQL, oldest first, beside new traffic.
 *
 * One transaction at a time on a connection of its own, while new traffic has two: so the backlog shrinks whenever
 * PostgreSQL takes more than comes in, and new readings never wait behind old ones. Order does not matter to the result.
 * The spool is quick, so its batches are small; many of them share one transaction here, and the next ones are read and decoded
 * while it is under way.
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

/** Readings in one transaction: as many as PostgreSQL takes well within the time-out of a commit. */
const REPLAY_READINGS_MAX = 2000

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

/** A record on its way into PostgreSQL. */
interface Replayed {
  readonly position: Position
  /** `null` where the record could not be decoded: it was set aside. */
  readonly submissions: readonly Submission[] | null
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
    let records: readonly Replayed[] = []
    while (!this.#stopping.signal.aborted) {
      if (records.length === 0 && this.#options.circuit.state !== 'open') records = await this.#readSome()
      this.#settleDamage()
      if (records.length === 0) {
        await this.#idle()
        continue
      }
      // What is read and then not replayed, because the gateway stops, was not released and comes again.
      const next = this.#readSome()
      await this.#replay(records)
      records = await next
    }
  }

  async #readSome (): Promise<Replayed[]> {
    const { spool, logger } = this.#options
    const records: Array<Promise<Replayed>> = []
    let readings = 0
    try {
      while (readings < REPLAY_READINGS_MAX) {
        const record = await spool.read()
        if (record === null) break
        records.push(this.#decode(record.payload, record.position))
        readings += record.position.readings
      }
    } catch (error) {
      logger.error({ err: error }, 'the spool cannot be read; trying again')
    }
    return await Promise.all(records)
  }

  /** Submissions of one record; `null` for one that cannot be decoded. */
  async #decode (payload: Buffer, position: Position): Promise<Replayed> {
    const { spool, ledger } = this.#options
    const { isFound, readings } = position
    if (!position.isCounted) {
      ledger.received('spool', readings)
      this.#pending += readings
    }
    try {
      const submissions = (await decodeSubmissions(payload)).map((entry) => new Submission({
        ...entry,
        // What an earlier run left was counted under its own transports then; in this run it comes in as `spool`.
        transport: isFound ? 'spool' : entry.transport,
        bytes: 0,
        acceptedAtMs: 0,
        isAllOrNothing: false,
        onSettled: () => {}
      }))
      return { position, submissions }
    } catch (error) {
      spool.setAside(position, error)
      return { position, submissions: null }
    }
  }

  async #replay (records: readonly Replayed[]): Promise<void> {
    const startedAtMs = performance.now()
    try {
      if (!await this.#write(records.flatMap(({ submissions }) => submissions ?? []))) return
      for (const record of records) this.#settle(record)
    } catch {
      // A defect of ours, in one of them: each by itself, so that only the culprit stays behind.
      for (const record of records) {
        if (!await this.#replayAlone(record)) return
      }
    }
    this.#options.circuit.succeed()
    await this.#release(records.at(-1)!.position)
    // Half of the time when new readings wait: the backlog may last longer, a device must not.
    if (this.#options.isBusy()) await this.#pause(performance.now() - startedAtMs)
  }

  /** What will never go in is kept on disk for a person; all that waits behind it goes on. */
  async #replayAlone (record: Replayed): Promise<boolean> {
    try {
      if (!await this.#write(record.submissions ?? [])) return false
      this.#settle(record)
    } catch (error) {
      this.#options.spool.setAside(record.position, error)
      this.#settle({ position: record.position, submissions: null })
    }
    return true
  }

  /** Enters into the ledger what became of a record. */
  #settle ({ position, submissions }: Replayed): void {
    const { ledger } = this.#options
    this.#pending -= position.readings
    if (submissions === null) {
      ledger.refused(position.isFound ? 'spool' : 'mqtt', 'unavailable', position.readings)
      return
    }
    for (const submission of submissions) ledger.decided(submission, 'stored')
    this.#replayed += position.readings
  }

  /**
   * Tries until PostgreSQL takes it, or the gateway stops.
   * @throws what is a defect of ours, which no further try would mend
   */
  async #write (submissions: readonly Submission[]): Promise<boolean> {
    const { circuit, write } = this.#options
    if (submissions.length === 0) return true
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
