import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { createTestDir } from './postgres.ts'
import { LOADER, ROOT, toProgram } from './program.ts'

export interface LogLine {
  readonly msg: string
  readonly level: number
  readonly protocol?: string
  readonly port?: number
  readonly err?: { readonly message: string }
}

export interface GatewayProcess {
  readonly child: ChildProcess
  readonly dataDir: string
  readonly exited: Promise<[number | null, NodeJS.Signals | null]>
  readonly lines: LogLine[]
  /** Waits for the first line that fits. @throws Error when the process ends before */
  said (pattern: RegExp): Promise<LogLine>
  stderr (): string
}

interface SpawnOptions {
  readonly cwd?: string
  /** A command before node, such as `bash -c 'ulimit -n 512; exec "$@"' bash`. */
  readonly through?: readonly string[]
  readonly args?: readonly string[]
  /** Flags of Node.js and V8. */
  readonly flags?: readonly string[]
  /** The program; by default a gateway. */
  readonly program?: `${string}.ts`
}

/** The gateway as a process of its own, from its sources, on free ports; killed when the test ends. */
export async function spawnGateway (t: Test, variables: Record<string, string>, options: SpawnOptions = {}): Promise<GatewayProcess> {
  const dataDir = variables['VITAL_DATA_DIR'] ?? await createTestDir(t)
  const { through = [], flags = [], program = 'src/main.ts', args = [] } = options
  const command = [...through, process.execPath, ...flags, ...LOADER, toProgram(program), ...args]
  const child = spawn(command[0]!, command.slice(1), {
    cwd: options.cwd ?? ROOT,
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      VITAL_DATA_DIR: dataDir,
      VITAL_MQTT_PORT: '0',
      VITAL_MQTTS_PORT: '0',
      VITAL_HTTP_PORT: '0',
      ...variables
    },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const exited = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exited
  })
  const lines: LogLine[] = []
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString() })
  const waiting: Array<() => void> = []
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(text.startsWith('{') ? JSON.parse(text) as LogLine : { msg: text, level: 0 })
    for (const wake of waiting.splice(0)) wake()
  })
  const said = async (pattern: RegExp): Promise<LogLine> => {
    for (;;) {
      const line = lines.find(({ msg }) => pattern.test(msg))
      if (line !== undefined) return line
      await Promise.race([
        new Promise<void>((resolve) => { waiting.push(resolve) }),
        exited.then((how) => {
          throw new Error(`ended with ${how.join()} before it said ${pattern}: ` +
          `${stderr}${JSON.stringify(lines.slice(-3))}`)
        })
      ])
    }
  }
  return { child, dataDir, exited, lines, said, stderr: () => stderr }
}

/** Settles once the process handles a signal itself, as /proc of Linux shows. Node handles SIGINT and SIGTERM from its start. */
export async function takesSignal ({ child }: GatewayProcess, number: number): Promise<void> {
  for (let attempt = 0; attempt < 2000; attempt++) {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1]
    if (caught !== undefined && (BigInt(`0x${caught}`) >> BigInt(number - 1) & 1n) === 1n) return
    await sleep(5)
  }
  throw new Error(`signal ${number} was never taken over`)
}
