import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { compiled, root } from '../../harness/compile.ts'
import type { ServerListening } from '../load/messages.ts'
import { ageLog } from '../../harness/preload.ts'
import { findPostmaster, readTreeCpuS } from '../../harness/process-stat.ts'
import { sumMetric } from '../../command-line/prometheus-text.ts'
import { readV8Flags } from '../../harness/v8-flags.ts'
import type { Supervisor } from './supervisor.ts'

/** initdb, migrations and a cold disk included. */
const READY_TIMEOUT_MS = 60_000

/** At a million devices it takes half a minute. */
const ORDERED_TIMEOUT_MS = 300_000

/** Counts of stored readings, to compare with those that were acknowledged. */
export interface Stored {
  /** In the table `readings`, or in the spool. */
  readonly rows: number
  /** Brought from the spool into PostgreSQL. */
  readonly replayed: number
  /** Readings that the gateway's metrics call anything but stored. */
  readonly duplicates: number
  readonly deadLettered: number
  readonly refused: number
}

/** A server under load. */
export interface Target {
  readonly name: string
  readonly pid: number
  readonly ports: { readonly mqtt: number, readonly http: number, readonly grpc: number }
  /** CPU seconds used so far; `null` where they cannot be read. */
  readonly cpu: () => { readonly server: number, readonly database: number } | null
  /** Rejects when the server ends before it is stopped. */
  readonly gone: Promise<never>
  /** The last lines of its log. */
  readonly tail: () => string
  readonly stop: () => Promise<void>
}

export interface Gateway extends Target {
  readonly databaseUrl: string
  /** Where its acknowledged readings are stored. */
  readonly place: string
  /** @throws when the store has no room for another round */
  readonly stored: () => Promise<Stored>
}

/** Headers that a gateway with credentials requires, also of the bench's own scrapes. */
export type Headers = Readonly<Record<string, string>>

/** A gateway with a PostgreSQL that the bench can query. */
export interface DatabaseGateway extends Gateway {
  readonly database: pg.Client
  readonly dataDir: string
  /** Settles when the gateway has loaded the devices that were inserted into `latest` beside it. */
  readonly untilOrdered: (devices: number) => Promise<void>
  /** Sent with the bench's own scrapes from now on. */
  readonly identify: (headers: Headers) => void
}

/** A promise that rejects when `child` ends on its own. */
export function untilGone (child: ChildProcess, name: string, isStopping: () => boolean, tail: () => string): Promise<never> {
  const gone = new Promise<never>((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${name} could not be started: ${error.message}`, { cause: error })))
    child.once('exit', (code, signal) => {
      if (!isStopping()) reject(new Error(`${name} ended unexpectedly (${signal ?? `exit code ${code}`})\n${tail()}`))
    })
  })
  // Only a running measurement races against it.
  gone.catch(() => {})
  return gone
}

const BARE = { broker: 'bare broker', http: 'bare Fastify', listener: 'bare listener' } as const

/** Aedes, Fastify, or a listener that discards what it reads, alone in a process of its own. */
export async function startBare (supervisor: Supervisor, kind: keyof typeof BARE): Promise<Target> {
  const name = BARE[kind]
  const child = supervisor.fork(compiled(`sides/bare-${kind}`))
  let stopping = false
  const gone = untilGone(child, name, () => stopping, () => '')
  const listening = new Promise<ServerListening>((resolve) => child.once('message', resolve))
  const { port } = await Promise.race([listening, gone])
  const pid = child.pid ?? 0
  return {
    name,
    pid,
    ports: { mqtt: port, http: port, grpc: port },
    cpu: () => toOwnCpu(pid),
    gone,
    tail: () => '',
    stop: async () => {
      stopping = true
      await supervisor.stop(child)
    }
  }
}

export interface GatewayOptions {
  readonly name: string
  /** Where its new data directory is made; the system's temporary directory when `undefined`. */
  readonly parentDir: string | undefined
  /** Writes a CPU profile there at its end. */
  readonly profileDir: string | undefined
  /** Whether it listens for gRPC; an older checkout knows nothing of it. */
  readonly grpc?: boolean
  /** The built checkout that is run; this one by default. */
  readonly programDir?: string
  /** The Node.js that it runs on; this one by default. */
  readonly node?: string
  /** More variables of the gateway. */
  readonly environment?: Readonly<Record<string, string>>
}

/** A PostgreSQL that is away: port 1 is reserved (tcpmux) and closed, so each attempt to connect is refused at once. */
const AWAY_URL = 'postgres://nobody@127.0.0.1:1/none'

/** The gateway's own default, set here because the bench checks against it. */
const SPOOL_BYTES_MAX = 4 * 2 ** 30

/** How a process of the gateway is started. */
interface SpawnOptions {
  readonly environment: Readonly<Record<string, string>>
  /** `vital-gateway serve`, or another of its roles. */
  readonly entry?: 'main' | 'sink-main'
  readonly prepare?: (dataDir: string) => void
}

/** The built gateway on free ports, in a new data directory. */
async function spawnGateway (
  supervisor: Supervisor, options: GatewayOptions, { environment, entry = 'main', prepare = () => {} }: SpawnOptions
) {
  const programDir = options.programDir ?? root
  const main = join(programDir, 'dist', 'src', `${entry}.js`)
  if (!existsSync(main)) throw new Error(`${main} is missing: the gateway was not built`)
  const dir = supervisor.createDir(options.parentDir)
  const dataDir = join(dir, 'data')
  prepare(dataDir)
  const profile = options.profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profileDir}`]
  // Its working directory is empty, so that no .env is read.
  const env = {
    ...environment,
    VITAL_DATA_DIR: dataDir,
    VITAL_MQTT_PORT: '0',
    VITAL_HTTP_PORT: '0',
    ...options.grpc === true ? { VITAL_GRPC_PORT: '0' } : {}
  }
  const child = supervisor.spawn(options.node ?? process.execPath, [...profile, ...readV8Flags(programDir), main], {
    cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe']
  })
  let stopping = false
  const lines: string[] = []
  const tail = () => lines.join('\n')
  const gone = untilGone(child, options.name, () => stopping, tail)
  const ports = await Promise.race([readReady(child, lines), gone])
  const stop = async () => {
    stopping = true
    const code = await supervisor.stop(child)
    if (code !== 0) throw new Error(`${options.name} stopped with exit code ${code} instead of 0\n${tail()}`)
    supervisor.removeDir(dir)
  }
  return { name: options.name, pid: child.pid ?? 0, ports, dataDir, lines, tail, gone, stop }
}

/** Starts a gateway with an embedded PostgreSQL in its data directory. */
export async function startGateway (supervisor: Supervisor, options: GatewayOptions): Promise<DatabaseGateway> {
  const { dataDir, lines, stop, ...gateway } = await spawnGateway(supervisor, options, { environment: options.environment ?? {} })
  const databaseUrl = readFileSync(join(dataDir, 'database-url'), 'utf8').trim()
  const database = new pg.Client({ connectionString: databaseUrl, application_name: 'vital-bench' })
  database.on('error', (error) => { lines.push(`the bench's own connection to PostgreSQL: ${error.message}`) })
  await database.connect()
  await ageLog(database)
  let headers: Headers = {}
  const postmaster = findPostmaster(dataDir)
  return {
    ...gateway,
    databaseUrl,
    database,
    dataDir,
    untilOrdered: (devices) => untilOrdered(gateway.ports.http, devices),
    identify: (next) => { headers = next },
    place: 'in the table readings',
    cpu: () => {
      const server = readTreeCpuS(gateway.pid, postmaster ?? undefined)
      const inDatabase = postmaster === null ? null : readTreeCpuS(postmaster)
      return server === null || inDatabase === null ? null : { server, database: inDatabase }
    },
    stored: async () => {
      const { rows: [row] } = await database.query<{ count: string }>(
        // The bench's readings are of now; a history of 100 million would take minutes to count.
        'select count(*) from readings where time > now() - interval \'1 day\'')
      return { rows: Number(row?.count), ...toOutcomes(await scrape(gateway.ports.http, headers)) }
    },
    stop: async () => {
      await database.end()
      await stop()
    }
  }
}

/** One more gateway on the PostgreSQL of the first one, whose CPU counts there. */
export async function startSecondGateway (
  supervisor: Supervisor, options: GatewayOptions, { databaseUrl }: Pick<DatabaseGateway, 'databaseUrl'>
): Promise<Target> {
  const gateway = await spawnGateway(supervisor, options, { environment: { ...options.environment, DATABASE_URL: databaseUrl } })
  return { ...gateway, cpu: () => toOwnCpu(gateway.pid) }
}

/** `vital-gateway sink` into the PostgreSQL of a gateway. It has no port for MQTT. */
export async function startSink (
  supervisor: Supervisor, options: GatewayOptions, { databaseUrl }: Pick<DatabaseGateway, 'databaseUrl'>
): Promise<Target> {
  const environment = { ...options.environment, DATABASE_URL: databaseUrl }
  const sink = await spawnGateway(supervisor, options, { environment, entry: 'sink-main' })
  return { ...sink, cpu: () => toOwnCpu(sink.pid) }
}

function toOwnCpu (pid: number): ReturnType<Target['cpu']> {
  const server = readTreeCpuS(pid)
  return server === null ? null : { server, database: 0 }
}

/** A gateway that has never reached PostgreSQL refuses all clients; this one gets a record of an open database. */
function rememberOpen (dataDir: string): void {
  mkdirSync(dataDir, { mode: 0o700 })
  writeFileSync(join(dataDir, 'access.json'), '{"open":true}', { mode: 0o600 })
}

/** Starts a gateway whose PostgreSQL is away: it has fsynced in its spool whatever it acknowledges. */
export async function startSpoolGateway (supervisor: Supervisor, options: GatewayOptions): Promise<Gateway> {
  const { dataDir, lines, ...gateway } = await spawnGateway(supervisor, options, {
    environment: { DATABASE_URL: AWAY_URL, VITAL_SPOOL_BYTES_MAX: String(SPOOL_BYTES_MAX) }, prepare: rememberOpen
  })
  return {
    ...gateway,
    databaseUrl: AWAY_URL,
    place: 'in the spool',
    cpu: () => toOwnCpu(gateway.pid),
    stored: async () => toSpooled(await scrape(gateway.ports.http), SPOOL_BYTES_MAX)
  }
}

/** Reads the gateway's log until `ready`, and keeps its last lines in `tail`. */
function readReady (child: ChildProcess, tail: string[]): Promise<Target['ports']> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`the gateway was not ready in ${READY_TIMEOUT_MS} ms\n${tail.join('\n')}`))
    }, READY_TIMEOUT_MS)
    const ports = { mqtt: 0, http: 0, grpc: 0 }
    let isReady = false
    const onLine = (line: string) => {
      tail.push(line)
      if (tail.length > 30) tail.shift()
      if (isReady || !line.startsWith('{')) return
      const entry = JSON.parse(line) as { msg?: string, protocol?: string, port?: number }
      if (entry.msg === 'listening' && entry.protocol !== undefined && Object.hasOwn(ports, entry.protocol)) {
        ports[entry.protocol as keyof typeof ports] = entry.port ?? 0
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

async function scrape (httpPort: number, headers: Headers = {}): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`, { headers })
  const text = await response.text()
  if (!response.ok) throw new Error(`GET /metrics answered ${response.status}`)
  return text
}

/** Asks for pages, because each makes the gateway compare the number of devices; by itself it does once a minute. */
async function untilOrdered (httpPort: number, devices: number): Promise<void> {
  const deadlineMs = performance.now() + ORDERED_TIMEOUT_MS
  for (;;) {
    await (await fetch(`http://127.0.0.1:${httpPort}/vital-data?sortBy=timestamp&count=1`)).text()
    const text = await scrape(httpPort)
    if (sumMetric(text, 'vital_device_order_trusted') === 1 && sumMetric(text, 'vital_device_order_devices') === devices) return
    if (performance.now() > deadlineMs) throw new Error(`the gateway does not know the ${devices} devices after ${ORDERED_TIMEOUT_MS} ms`)
    await sleep(500)
  }
}

function toOutcomes (text: string): Omit<Stored, 'rows'> {
  return {
    replayed: sumMetric(text, 'vital_spool_replayed_readings_total'),
    duplicates: sumMetric(text, 'vital_readings_duplicate_total'),
    deadLettered: sumMetric(text, 'vital_readings_dead_lettered_total'),
    refused: sumMetric(text, 'vital_readings_refused_total')
  }
}

/**
 * What a gateway without PostgreSQL has stored, from its metrics.
 * @throws Error when PostgreSQL is not away, or when the spool is half full: at its bound the gateway stops reading
 */
export function toSpooled (text: string, spoolBytesMax: number): Stored {
  if (sumMetric(text, 'vital_database_up') > 0) {
    throw new Error(`a PostgreSQL answers at ${AWAY_URL}: the spool would not be measured alone`)
  }
  const bytes = sumMetric(text, 'vital_spool_bytes')
  if (bytes > spoolBytesMax / 2) {
    throw new Error(`the spool holds ${bytes} of ${spoolBytesMax} bytes: take fewer or shorter rounds (--rounds, --seconds)`)
  }
  return { rows: sumMetric(text, 'vital_spool_readings'), ...toOutcomes(text) }
}
