import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Violation } from '../../harness/checks/stored.ts'
import type { Belongings } from '../../harness/belongings.ts'
import { GatewayProcess } from '../../harness/gateway-process.ts'
import { readV8Flags } from '../../harness/v8-flags.ts'
import { Watch } from '../checks/watch.ts'

/** On a busy machine a start of a reader takes longer than a minute. */
const READY_TIMEOUT_MS = 180_000
const STOP_TIMEOUT_MS = 15_000

export interface ClusterGatewayOptions {
  readonly belongings: Belongings
  readonly name: string
  /** Directory of the run; that of the gateway is below it. */
  readonly dir: string
  /** The Node.js that runs it; this one by default. */
  readonly node?: string | undefined
  /** The program and its arguments. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly mqttPort: number
  readonly httpPort: number
  /** Cap of resident memory; that of a gateway by default. */
  readonly rssBytesMax?: number
  /** Connections of clients. */
  readonly connections: number
  readonly onViolation: (violation: Violation) => void
}

/** One of several gateways or sinks, over all its lives. */
export class ClusterGateway {
  readonly options: ClusterGatewayOptions
  readonly watch: Watch
  readonly #dataDir: string
  #process: GatewayProcess | null = null
  #lives = 0
  #isFrozen = false

  constructor (options: ClusterGatewayOptions) {
    this.options = options
    this.#dataDir = join(options.dir, options.name)
    this.watch = new Watch({
      // A frozen process answers nothing.
      gateway: () => this.#isFrozen ? null : this.#process,
      httpPort: () => options.httpPort,
      connections: options.connections,
      rssBytesMax: options.rssBytesMax,
      onViolation: ({ checker, message }) => { options.onViolation({ checker, message: `${options.name}: ${message}` }) }
    })
  }

  get lives (): number { return this.#lives }

  /** @returns milliseconds until it was ready */
  async start (): Promise<number> {
    const { belongings, name, dir, node, args, env, mqttPort, httpPort } = this.options
    await mkdir(this.#dataDir, { recursive: true, mode: 0o700 })
    this.#process = new GatewayProcess({
      belongings,
      node,
      args: [...readV8Flags(), ...args],
      cwd: dir,
      env: { ...env, VITAL_DATA_DIR: this.#dataDir, VITAL_MQTT_PORT: String(mqttPort), VITAL_HTTP_PORT: String(httpPort) },
      logPath: join(dir, `${name}-${++this.#lives}.log`)
    })
    this.watch.started(this.#process)
    return await this.#process.waitReady(READY_TIMEOUT_MS)
  }

  async kill (): Promise<void> {
    await this.#process?.kill()
    this.watch.ended()
  }

  /** SIGTERM; anything but exit 0 in time is a violation. */
  async stop (): Promise<void> {
    if (this.#process === null) return
    const { code, tookMs } = await this.#process.stop()
    this.watch.ended()
    if (code === 0 && tookMs <= STOP_TIMEOUT_MS) return
    this.options.onViolation({
      checker: 'C6', message: `SIGTERM of ${this.options.name} ended with ${code} after ${Math.round(tookMs)} ms:\n${this.#process.tail()}`
    })
  }

  freeze (): void {
    this.#isFrozen = true
    this.#process?.signal('SIGSTOP')
  }

  thaw (): void {
    this.#process?.signal('SIGCONT')
    this.#isFrozen = false
  }
}
