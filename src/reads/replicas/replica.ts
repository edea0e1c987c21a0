import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { createDatabase, type DatabaseOptions } from '../../../db/database.ts'
import { type LogPosition, type ReplicaState, selectReplicaState } from '../../../db/queries/select-log-positions.ts'
import type { Tables } from '../../../db/tables.ts'

/** One replica: its connections, and how far it has replayed by its last answer. */
export class Replica {
  readonly kysely: Kysely<Tables>
  readonly close: () => Promise<void>
  /** Host and port, for people. */
  readonly name: string
  /** `null`: it did not answer the last time. */
  state: ReplicaState | null = null
  #asking: Promise<void> | null = null

  constructor (options: DatabaseOptions) {
    const { kysely, close, pool } = createDatabase(options)
    this.kysely = kysely
    this.close = close
    this.name = toName(options.connectionString)
    // A replica that starts again answers before it has replayed all that it had replayed before.
    pool.on('error', () => { this.state = null })
  }

  /** Asks how far it has replayed. Callers at the same time share the next question. Never rejects. */
  async ask (): Promise<void> {
    this.#asking ??= selectReplicaState(this.kysely)
      .then((state) => { this.state = state }, () => { this.state = null })
      .finally(() => { this.#asking = null })
    await this.#asking
  }

  /** Whether it has replayed a position, as far as is known. */
  hasReached ({ timeline, bytes }: LogPosition): boolean {
    return this.state !== null && this.state.timeline === timeline && this.state.bytes >= bytes
  }

  /** @returns whether it reaches the position before `performance.now()` is `deadlineMs` */
  async reaches (position: LogPosition, deadlineMs: number): Promise<boolean> {
    if (this.hasReached(position)) return true
    // A replica that hangs is asked for longer than a read may wait.
    const late = sleep(Math.max(0, deadlineMs - performance.now()), undefined, { ref: false })
    while (this.state !== null && this.state.timeline === position.timeline && performance.now() < deadlineMs) {
      await Promise.race([this.ask(), late])
      if (this.hasReached(position)) return true
    }
    return false
  }
}

function toName (connectionString: string): string {
  if (!URL.canParse(connectionString)) return 'local'
  const { hostname, port } = new URL(connectionString)
  return `${hostname || 'local'}:${port || '5432'}`
}
