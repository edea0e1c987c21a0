import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { THROUGH } from './kafka.ts'
import { createTestDir } from './postgres.ts'
import { ROOT } from './program.ts'

const { VITAL_TEST_FLINK_JARS: JARS = '' } = process.env

const FLINK_DIR = join(ROOT, 'scripts/compose/flink')
const PASSWORD = 'counting'

/** Why tests that need Flink are left out; `false` where they run. */
export const NO_FLINK: string | false = findMissing()

function findMissing (): string | false {
  if (!existsSync(JARS) || !readdirSync(JARS).some((name) => /^run-sql-/.test(name))) {
    return 'VITAL_TEST_FLINK_JARS names no folder of Flink\'s jars (mvn -q -f scripts/compose/flink/pom.xml package -Djars=FOLDER)'
  }
  return spawnSync('psql', ['--version']).status === 0 ? false : 'psql is not installed (apt-get install postgresql-client)'
}

/** Makes the tables of Flink, and its role, as compose does. */
export async function prepareTables (connectionString: string): Promise<void> {
  const { hostname, port, username, password, pathname } = new URL(connectionString)
  await promisify(execFile)('sh', [join(FLINK_DIR, 'tables.sh')], {
    env: {
      PATH: process.env['PATH'],
      PGHOST: hostname,
      PGPORT: port,
      PGUSER: username,
      PGPASSWORD: password,
      PGDATABASE: pathname.slice(1),
      POSTGRES_FLINK_PASSWORD: PASSWORD
    }
  })
}

export interface RunningFlink {
  readonly stateDir: string
  readonly metricsUrl: string
  /** What it printed since it was started first. */
  log (): string
  hasEnded (): boolean
  /** Ends it at once. */
  kill (): Promise<void>
  /** Starts it again, from its last checkpoint. @param variables - others than before */
  start (variables?: Readonly<Record<string, string>>): void
}

/** The job of averages on a Flink of the test's own, by the shipped files; ended with the test. */
export async function startFlink (
  t: Test, { brokers, connectionString, variables = {} }: {
    readonly brokers: string
    readonly connectionString: string
    readonly variables?: Readonly<Record<string, string>>
  }
): Promise<RunningFlink> {
  const stateDir = await createTestDir(t)
  const port = await freePort()
  const { host, pathname } = new URL(connectionString)
  const printed: string[] = []
  let child: ChildProcess
  function start (others: Readonly<Record<string, string>> = {}): void {
    const [command = '', ...args] = [...THROUGH, 'sh', join(FLINK_DIR, 'start.sh')]
    child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: {
        PATH: process.env['PATH'],
        FLINK_JARS: JARS,
        FLINK_STATE_DIR: stateDir,
        FLINK_DATABASE_URL: `jdbc:postgresql://${host}${pathname}`,
        FLINK_DATABASE_USER: 'flink',
        FLINK_DATABASE_PASSWORD: PASSWORD,
        FLINK_METRICS_PORT: String(port),
        FLINK_CHECKPOINT_S: '1',
        FLINK_HEAP_OPTS: '-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1',
        KAFKA_BROKERS: brokers,
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
