import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import { findFlinkObstacle, prepareFlinkTables, toFlinkVariables } from '../../scripts/harness/flink-job.ts'
import { freePort } from './free-port.ts'
import { THROUGH } from './kafka.ts'
import { createTestDir } from './postgres.ts'
import { ROOT } from './program.ts'

const { VITAL_TEST_FLINK_JARS: JARS = '' } = process.env

const FLINK_DIR = join(ROOT, 'scripts/compose/flink')

const OBSTACLE = findFlinkObstacle(JARS)
/** Why tests that need Flink are left out; `false` where they run. */
export const NO_FLINK: string | false = OBSTACLE !== null && `VITAL_TEST_FLINK_JARS: ${OBSTACLE}`

/** Creates the tables and the role of Flink, as compose does. */
export const prepareTables = (connectionString: string) => prepareFlinkTables(FLINK_DIR, connectionString)

export interface RunningFlink {
  readonly stateDir: string
  readonly metricsUrl: string
  /** The output since its first start. */
  log (): string
  hasEnded (): boolean
  /** Ends it with SIGKILL. */
  kill (): Promise<void>
  /** Starts it again, from its last checkpoint. @param variables - replace those of the first start */
  start (variables?: Readonly<Record<string, string>>): void
}

/** A Flink of its own that runs the job of averages from the shipped files; ended with the test. */
export async function startFlink (
  t: Test, { brokers, connectionString, variables = {} }: {
    readonly brokers: string
    readonly connectionString: string
    readonly variables?: Readonly<Record<string, string>>
  }
): Promise<RunningFlink> {
  const stateDir = await createTestDir(t)
  const port = await freePort()
  const printed: string[] = []
  let child: ChildProcess
  function start (others: Readonly<Record<string, string>> = {}): void {
    const [command = '', ...args] = [...THROUGH, 'sh', join(FLINK_DIR, 'start.sh')]
    child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: {
        PATH: process.env['PATH'],
        ...toFlinkVariables({ jars: JARS, stateDir, connectionString, metricsPort: port, brokers }),
        ...variables,
        ...others
      }
    })
    for (const output of [child.stdout!, child.stderr!]) output.on('data', (chunk: Buffer) => { printed.push(chunk.toString()) })
  }
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  async function kill (): Promise<void> {
    if (hasEnded()) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(async () => {
    await kill()
    if (!t.passing()) process.stderr.write(printed.join(''))
  })
  start()
  return { stateDir, metricsUrl: `http://127.0.0.1:${port}/metrics`, log: () => printed.join(''), hasEnded, kill, start }
}
