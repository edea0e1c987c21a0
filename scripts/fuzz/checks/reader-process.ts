import type { ChildProcess } from 'node:child_process'
import type { Belongings } from '../../harness/belongings.ts'

/** The harness's side of the subscribers: one question at a time. */
export class ReaderProcess {
  readonly #child: ChildProcess

  constructor ({ belongings, program, mqttPort }: { belongings: Belongings, program: string, mqttPort: number }) {
    this.#child = belongings.fork(program, [String(mqttPort)])
  }

  async #answer (): Promise<readonly string[]> {
    return await new Promise((resolve) => {
      this.#child.once('message', ({ faults }: { faults: readonly string[] }) => { resolve(faults) })
      this.#child.once('exit', () => { resolve(['the process of the subscribers ended']) })
    })
  }

  /** @returns what went wrong before the first SUBACK of each */
  async start (): Promise<readonly string[]> {
    return await this.#answer()
  }

  /** @returns what went wrong since the start */
  async check (): Promise<readonly string[]> {
    const answer = this.#answer()
    this.#child.send('check')
    return await answer
  }

  kill (): void {
    this.#child.kill('SIGKILL')
  }
}
