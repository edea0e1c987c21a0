import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Belongings } from '../belongings.ts'
import type { FromPublisher, PublisherFigures, PublisherSettings, ToPublisher } from './messages.ts'

const ANSWER_TIMEOUT_MS = 20_000
const POLL_MS = 50

/** The harness's side of the publisher: one process, one account at a time. */
export class PublisherProcess {
  readonly #child: ChildProcess
  #waiting: { type: FromPublisher['type'], resolve: (message: FromPublisher) => void, reject: (error: Error) => void } | null = null

  constructor (belongings: Belongings, program: string) {
    this.#child = belongings.fork(program)
    this.#child.on('message', (message: FromPublisher) => {
      if (message.type === 'failed') this.#fail(new Error(`the publisher failed: ${message.message}`))
      else if (message.type === this.#waiting?.type) this.#waiting.resolve(message)
    })
    this.#child.once('exit', (code, signal) => this.#fail(new Error(`the publisher ended unexpectedly (${signal ?? code})`)))
  }

  async run (settings: PublisherSettings): Promise<void> {
    await this.#ask({ type: 'run', settings }, 'running')
  }

  async figures (): Promise<PublisherFigures> {
    const message = await this.#ask({ type: 'figures' }, 'figures')
    if (message.type !== 'figures') throw new TypeError('the publisher answered something else')
    return message.figures
  }

  setMaking (isMaking: boolean): void {
    this.#tell({ type: 'making', isMaking })
  }

  /** @returns the figures once `until` is true of them, or at the end of the time */
  async waitUntil (until: (figures: PublisherFigures) => boolean, timeoutMs: number): Promise<PublisherFigures> {
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      const figures = await this.figures()
      if (until(figures) || performance.now() > deadlineMs) return figures
      await sleep(POLL_MS)
    }
  }

  /** Stops new readings and waits until all are acknowledged; the figures tell how many still are not. */
  async drain (timeoutMs: number): Promise<PublisherFigures> {
    this.setMaking(false)
    return await this.waitUntil(({ unacknowledged }) => unacknowledged === 0, timeoutMs)
  }

  async endAccount (): Promise<void> {
    await this.#ask({ type: 'end' }, 'ended')
  }

  kill (): void {
    this.#child.kill('SIGKILL')
  }

  #tell (message: ToPublisher): void {
    this.#child.send(message)
  }

  #fail (error: Error): void {
    this.#waiting?.reject(error)
  }

  async #ask (message: ToPublisher, type: FromPublisher['type']): Promise<FromPublisher> {
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<FromPublisher>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`the publisher did not answer ${message.type} in ${ANSWER_TIMEOUT_MS} ms`)),
          ANSWER_TIMEOUT_MS)
        this.#waiting = { type, resolve, reject }
        this.#tell(message)
      })
    } finally {
      clearTimeout(timer)
      this.#waiting = null
    }
  }
}
