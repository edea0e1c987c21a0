import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import pg from 'pg'
import packageJson from '../../package.json' with { type: 'json' }
import { compiled, root } from './compile.ts'
import type { ServerListening } from './messages.ts'
import { findPostmaster, readTreeCpuS } from './process-stat.ts'
import type { Supervisor } from './supervisor.ts'

/** initdb, migrations and a cold disk included. */
const READY_TIMEOUT_MS = 60_000

/** What is stored, for comparing with what was acknowledged. */
export interface Stored {
  readonly rows: number
  /** Readings that the gateway's metrics call anything but stored. */
  readonly duplicates: number
  readonly deadLettered: number
  readonly refused: number
}

/** A server under load. */
export interface Target {
  readonly name: string
  readonly pid: number
  readonly ports: { readonly mqtt: number, readonly http: number }
  /** CPU seconds used so far; `null` where they cannot be read. */
  readonly cpu: () => { readonly server: number, readonly database: number } | null
  /** Rejects when the server ends before it is stopped. */
  readonly gone: Promise<never>
  readonly stop: () => Promise<void>
}

export interface Gateway extends Target {
  readonly databaseUrl: string
  readonly database: pg.Client
  readonly stored: () => Promise<Stored>
}

/** A promise that rejects when `child` ends on its own. */
function untilGone (child: ChildProcess, name: string, isStopping: () => boolean, tail: () => string): Promise<never> {
  const gone = new Promise<never>((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${name} could not be started: ${error.message}`, { cause: error })))
    child.once('exit', (code, signal) => {
      if (!isStopping()) reject(new Error(`${name} ended by itself (${signal ?? `exit code ${code}`})\n${tail()}`))
    })
  })
  // Whoever is using the target races against it; between uses nobody does.
  gone.catch(() => {})
  return gone
}

/** Aedes or Fastify alone, in a process of its own. */
export async function startBare (supervisor: Supervisor, kind: 'broker' | 'http'): Promise<Target> {
  const name = kind === 'broker' ? 'bare broker' : 'bare Fastify'
  const child = supervisor.fork(compiled(`bare-${kind}`))
  let stopping = false
  const gone = untilGone(child, name, () => stopping, () => '')
  const listening = new Promise<ServerListening>((resolve) => child.once('message', resolve))
  const { port } = await Promise.race([listening, gone])
  const pid = child.pid ?? 0
  return {
    name,
    pid,
    ports: { mqtt: port, http: port },
    cpu: () => {
      const server = readTreeCpuS(pid)
      return server === null ? null : { server, database: 0 }
    },
    gone,
    stop: async () => {
      stopping = true
      await supervisor.stop(child)
    }
  }
}

export interface GatewayOptions {
  /** Where its new data directory is made; the system's temporary directory when `undefined`. */
  readonly parentDir: string | undefined
  /** Writes a CPU profile there at its end. */
  readonly profileDir: string | undefined
}

/** Node's flags of `npm start`, so that what is measured is what runs. */
function startFlags (): string[] {
  return packageJson.scripts.start.split(' ').filter((word) => word.startsWith('--'))
}

/** The built gateway on free ports, with an embedded PostgreSQL in a new data directory. */
export async function startGateway (supervisor: Supervisor, options: GatewayOptions): Promise<Gateway> {
  const main = join(root, 'dist', 'src', 'main.js')
  if (!existsSync(main)) throw new Error(`${main} is missing: the gateway was not built`)
  const dir = supervisor.createDir(options.parentDir)
  const dataDir = join(dir, 'data')
  const profile = options.profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profileDir}`]
  // Its working directory is empty, so that no .env is read.
  const child = supervisor.spawnNode([...profile, ...startFlags(), main], dir, {
    VITAL_DATA_DIR: dataDir, VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0'
  })
  let stopping = false
  const lines: string[] = []
  const gone = untilGone(child, 'the gateway', () => stopping, () => lines.join('\n'))
  const ports = await Promise.race([readReady(child, lines), gone])

  const databaseUrl = readFileSync(join(dataDir, 'database-url'), 'utf8').trim()
  const database = new pg.Client({ connectionString: databaseUrl, application_name: 'vital-bench' })
  database.on('error', (error) => { lines.push(`the bench's own connection to PostgreSQL: ${error.message}`) })
  await database.connect()
  const postmaster = findPostmaster(dataDir)
  const pid = child.pid ?? 0
  return {
    name: 'gateway',
    pid,
    ports,
    databaseUrl,
    database,
    cpu: () => {
      const server = readTreeCpuS(pid, postmaster ?? undefined)
      const inDatabase = postmaster === null ? null : readTreeCpuS(postmaster)
      return server === null || inDatabase === null ? null : { server, database: inDatabase }
    },
    stored: () => readStored(database, ports.http),
    gone,
    stop: async () => {
      stopping = true
      await database.end()
      const code = await supervisor.stop(child)
      if (code !== 0) throw new Error(`the gateway stopped with exit code ${code} instead of 0\n${lines.join('\n')}`)
      supervisor.removeDir(dir)
    }
  }
}

/** Reads the gateway's log until `ready`, and goes on to keep its last lines in `tail`. */
function readReady (child: ChildProcess, tail: string[]): Promise<{ mqtt: number, http: number }> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`the gateway was not ready in ${READY_TIMEOUT_MS} ms\n${tail.join('\n')}`))
    }, READY_TIMEOUT_MS)
    const ports = { mqtt: 0, http: 0 }
    let isReady = false
    const onLine = (line: string) => {
      tail.push(line)
      if (tail.length > 30) tail.shift()
      if (isReady || !line.startsWith('{')) return
      const entry = JSON.parse(line) as { msg?: string, protocol?: string, port?: number }
      if (entry.msg === 'listening' && (entry.protocol === 'mqtt' || entry.protocol === 'http')) {
        ports[entry.protocol] = entry.port ?? 0
      }
      if (entry.msg === 'ready') {
        isReady = true
        clearTimeout(timer)
        resolve(ports)
      }
    }
    for (const stream of [child.stdout, child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', onLine)
    }
  })
}

/** Sums a counter over its labels in Prometheus' text format. */
export function sumMetric (text: string, name: string): number {
  let sum = 0
  for (const line of text.split('\n')) {
    if (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) sum += Number(line.slice(line.lastIndexOf(' ') + 1))
  }
  return sum
}

async function readStored (database: pg.Client, httpPort: number): Promise<Stored> {
  const { rows: [row] } = await database.query<{ count: string }>('select count(*) from readings')
  const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`)
  const text = await response.text()
  if (!response.ok) throw new Error(`GET /metrics answered ${response.status}`)
  return {
    rows: Number(row?.count),
    duplicates: sumMetric(text, 'vital_readings_duplicate_total'),
    deadLettered: sumMetric(text, 'vital_readings_dead_lettered_total'),
    refused: sumMetric(text, 'vital_readings_refused_total')
  }
}
