/**
 * PostgreSQL as ingest sees it: a store that takes a batch completely or not at all, and a pool to ping. Depending on its
 * weather it is away, hangs, answers slowly, loses the answer of a COMMIT, deadlocks, turns read-only or refuses rows.
 * A statement that the server began continues when its client dies.
 */
import type { Pool } from 'pg'
import type { DeadLetterRow, ReadingRow } from '../../../db/rows.ts'
import type { Store, Written } from '../../../db/store.ts'
import type { Random } from '../../../scripts/harness/random.ts'
import type { VirtualTime } from './time.ts'

/** `constraint`: refused while a constraint of the operator exists. `always`: refused by PostgreSQL itself. */
export type Poison = 'constraint' | 'always'

export const WEATHERS = ['fine', 'slow', 'away', 'hanging', 'read-only', 'locked', 'flaky'] as const
export type Weather = typeof WEATHERS[number]

/** The course of one write. */
interface Fate {
  /** The time until the server has decided, and from then until the client has the answer. */
  readonly beforeMs: number
  readonly afterMs: number
  /** `null` where it commits, if its rows are valid. */
  readonly failure: Error | null
  readonly isAnswerLost: boolean
}

/** The query time-out of a gateway's pool, after which pg gives up. */
const QUERY_TIMEOUT_MS = 4000
const PING_TIMEOUT_MS = 1000

export class FakeDatabase {
  readonly #random: Random
  readonly #time: VirtualTime
  readonly rows = new Map<string, ReadingRow>()
  readonly letters = new Map<string, DeadLetterRow>()
  weather: Weather = 'fine'
  hasConstraint = true
  /** Identities of readings that the operator's constraint has refused at some time. */
  readonly #ruledOut = new Set<string>()
  /** Set while a defect of ours makes every statement fail. Retries do not help. */
  isMistaken: () => boolean = () => false

  constructor (random: Random, time: VirtualTime) {
    this.#random = random
    this.#time = time
  }

  /**
   * The number of readings that were both stored and refused, because the constraint was added or dropped between a COMMIT
   * after its time-out and the replay. They count as refused, and are among the dead letters. Nothing is lost.
   */
  get ruledOutAndStored (): number {
    let count = 0
    for (const identity of this.#ruledOut) if (this.rows.has(identity)) count++
    return count
  }

  /** The store of one process. @param isAlive - whether that process still runs */
  connect (isAlive: () => boolean): Store {
    return { write: (readings, letters) => this.#write(readings, letters, isAlive) }
  }

  /** A pool for pings alone. */
  pool (isAlive: () => boolean): Pool {
    const pool = {
      connect: async () => {
        await this.#pass(this.#latencyMs(), isAlive)
        if (this.weather === 'away' || (this.weather === 'flaky' && this.#random.chance(0.3))) throw lost('ECONNREFUSED')
        return {
          query: async () => {
            await this.#pass(this.weather === 'hanging' ? PING_TIMEOUT_MS : this.#latencyMs(), isAlive)
            if (this.weather === 'hanging') throw new Error('Query read timeout')
            return { rows: [{ read_only: this.weather === 'read-only' ? 'on' : 'off' }] }
          },
          release: () => {}
        }
      }
    }
    return pool as unknown as Pool
  }

  /** The checks that a start makes of the database. */
  async prepare (isAlive: () => boolean): Promise<void> {
    await this.#pass(this.#latencyMs(), isAlive)
    if (this.weather === 'away') throw lost('ECONNREFUSED')
    if (this.weather === 'hanging') throw new Error('Query read timeout')
    if (this.weather === 'read-only') throw serverError('25006')
  }

  async #write (readings: readonly ReadingRow[], letters: readonly DeadLetterRow[], isAlive: () => boolean): Promise<Written> {
    const fate = this.isMistaken() ? { ...this.#fate(), failure: serverError('42601') } : this.#fate()
    // The promise of a dead client must not settle, but its COMMIT may have been on the way.
    await this.#pass(fate.beforeMs, () => isAlive() || this.#random.chance(0.5))
    let written: Written = { duplicates: [] }
    let failure = fate.failure
    if (failure === null) {
      failure = this.#refusal(readings)
      if (failure === null) written = this.#commit(readings, letters)
    }
    await this.#pass(fate.afterMs, isAlive)
    if (fate.isAnswerLost) throw Object.assign(new Error('PostgreSQL did not answer to COMMIT'), { code: 'VITAL_UNKNOWN_OUTCOME' })
    if (failure !== null) throw failure
    return written
  }

  #commit (readings: readonly ReadingRow[], letters: readonly DeadLetterRow[]): Written {
    const duplicates: number[] = []
    for (const [index, row] of readings.entries()) {
      const identity = toIdentity(row)
      if (this.rows.has(identity)) duplicates.push(index)
      else this.rows.set(identity, row)
    }
    for (const letter of letters) if (!this.letters.has(letter.id)) this.letters.set(letter.id, letter)
    return { duplicates }
  }

  #refusal (readings: readonly ReadingRow[]): Error | null {
    for (const row of readings) {
      const poison = row.fields['poison']
      if (poison === 'always') return serverError('22P02')
      if (poison !== 'constraint' || !this.hasConstraint) continue
      this.#ruledOut.add(toIdentity(row))
      return serverError('23514', 'operators_rule')
    }
    return null
  }

  #fate (): Fate {
    const random = this.#random
    const fine: Fate = { beforeMs: this.#latencyMs(), afterMs: this.#latencyMs(), failure: null, isAnswerLost: false }
    const weather = this.weather === 'flaky' ? random.pick(WEATHERS) : this.weather
    switch (weather) {
      case 'away': return { ...fine, failure: lost('ECONNREFUSED'), beforeMs: random.pick([0, 1, 2000]) }
      case 'hanging': return this.#hangingFate(fine)
      case 'read-only': return { ...fine, failure: serverError('25006') }
      case 'locked': return {
        ...fine,
        failure: random.chance(0.3) ? null : serverError(random.pick(['40P01', '40001', '55P03', '57014', '23514', '53100', '57P01']))
      }
      case 'flaky': return {
        ...fine, isAnswerLost: random.chance(0.5), failure: random.chance(0.3) ? lost('ECONNRESET') : null
      }
      case 'slow': return { ...fine, beforeMs: random.next() * 3000 }
      case 'fine': return fine
    }
  }

  /**
   * The server freezes in the middle of a statement. It finishes the statement later, whether or not its client still waits.
   */
  #hangingFate (fine: Fate): Fate {
    const random = this.#random
    if (random.chance(0.3)) return { ...fine, beforeMs: QUERY_TIMEOUT_MS, failure: new Error('Query read timeout') }
    const beforeMs = random.next() * QUERY_TIMEOUT_MS
    return { ...fine, beforeMs, afterMs: random.next() * (QUERY_TIMEOUT_MS - beforeMs), isAnswerLost: random.chance(0.7) }
  }

  #latencyMs (): number {
    return this.#random.pick([0, 0.3, 1, 5]) * (0.5 + this.#random.next())
  }

  /** Does not settle when the process died meanwhile. */
  #pass (ms: number, isAlive: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#time.later(ms, () => { if (isAlive()) resolve() })
    })
  }
}

function toIdentity ({ device, timeUs, hash }: ReadingRow): string {
  return `${device} ${timeUs} ${hash}`
}

function serverError (code: string, constraint?: string): Error {
  return Object.assign(new Error(`SQLSTATE ${code}: fake`), { code, severity: 'ERROR', constraint })
}

function lost (code: string): Error {
  return Object.assign(new Error(`${code}: fake`), { code })
}
