import type { ChildProcess } from 'node:child_process'
import type { Belongings } from '../../harness/belongings.ts'
import type { AttackFigures, AttackSettings, FromAttacker, ToAttacker } from '../messages.ts'

const NOTHING: AttackFigures = {
  packets: 0,
  packetsByTarget: {
    mqtt: 0, mqtt5: 0, payload: 0, http: 0, ws: 0
  },
  bytes: 0,
  sessions: 0,
  oldestSession: 0,
  pubacks: 0,
  closedByGateway: 0,
  statuses: {},
  faults: []
}

/** The harness's side of the attacker: one process, one attack at a time. */
export class AttackerProcess {
  readonly #child: ChildProcess
  /** Its last report. */
  figures: AttackFigures = NOTHING
  #onDone: ((next: number) => void) | null = null
  #onFailed: ((error: Error) => void) | null = null

  constructor ({ belongings, program, settings }: { belongings: Belongings, program: string, settings: AttackSettings }) {
    this.#child = belongings.fork(program)
    this.#child.on('message', (message: FromAttacker) => {
      if (message.type === 'failed') return this.#onFailed?.(new Error(`the attacker failed: ${message.message}`))
      this.figures = message.figures
      if (message.type === 'done') this.#onDone?.(message.next)
    })
    this.#child.once('exit', (code, signal) => this.#onFailed?.(new Error(`the attacker ended unexpectedly (${signal ?? code})`)))
    this.#tell({ type: 'settings', settings })
  }

  /** @returns the number of the next session, once all connections of this attack are closed */
  async attack (how: { from: number, packets: number, timeMs: number }): Promise<number> {
    return await new Promise((resolve, reject) => {
      this.#onDone = resolve
      this.#onFailed = reject
      this.#tell({ type: 'attack', ...how })
    })
  }

  kill (): void {
    this.#onFailed = null
    this.#child.kill('SIGKILL')
  }

  #tell (message: ToAttacker): void {
    this.#child.send(message)
  }
}
