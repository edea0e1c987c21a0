import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { BenchOptions } from './options.ts'
import { toSpread } from '../harness/statistics.ts'
import type { Supervisor } from './sides/supervisor.ts'
import { type DatabaseGateway, startGateway } from './sides/targets.ts'

/** An hour of readings of seven vital signs, so that buckets of both sizes are closed. */
const DEVICES = 1000
const READINGS_PER_BUCKET = 100
const BUCKETS = 12
const READINGS = DEVICES * READINGS_PER_BUCKET * BUCKETS

const POLL_MS = 250
const IDLE_MS = 5000

/** Deferred work of one round, for a million readings. */
export interface RollupRound {
  /** CPU seconds of PostgreSQL, less what it uses idle. */
  readonly databaseCpuS: number
  readonly gatewayCpuS: number
  /** Until all buckets were closed. */
  readonly seconds: number
}

interface RollupRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly say: (line: string) => void
}

/** Lets a gateway without traffic close an hour of buckets, until nothing is left, and measures its CPU and time. */
export async function runRollups ({ supervisor, options, say }: RollupRun): Promise<RollupRound[]> {
  const gateway = await startGateway(supervisor, {
    name: 'gateway', parentDir: options.dataDir, profileDir: undefined
  })
  const rounds: RollupRound[] = []
  for (let round = 0; round < options.rounds; round++) {
    await fill(gateway.database)
    const measured = await closeAll(gateway)
    rounds.push(measured)
    say(`round ${round + 1}  PostgreSQL ${measured.databaseCpuS.toFixed(2)}  gateway ${measured.gatewayCpuS.toFixed(2)} ` +
      `CPU s a million readings, closed in ${measured.seconds.toFixed(1)} s`)
  }
  await gateway.stop()
  return rounds
}

/** An hour of readings, which the gateway has not closed yet. */
async function fill (database: pg.Client): Promise<void> {
  const start = 'date_trunc(\'hour\', now()) - interval \'1 hour\''
  await database.query('truncate readings, rollups_5m, rollups_1h')
  await database.query(`
    insert into readings select 'device-' || device, ${start} + reading * interval '${300 / READINGS_PER_BUCKET} seconds',
      gen_random_uuid(), jsonb_build_object('heartRateValue', 60 + device % 40, 'breathRateValue', 12 + reading % 9,
        'pulseRateValue', 61.5 + device % 37, 'bloodPressureSystolic', 110 + reading % 23,
        'bloodPressureDiastolic', 70 + reading % 13, 'spo2Value', 97.5, 'temperatureValue', 36.6), now()
    from generate_series(0, ${READINGS_PER_BUCKET * BUCKETS} - 1) reading, generate_series(1, ${DEVICES}) device`)
  await database.query(`
    insert into latest (device, time, oldest_time, vitals, vital_times)
    select 'device-' || device, now(), now(), '{}', '{}' from generate_series(1, ${DEVICES}) device on conflict do nothing`)
  await database.query('vacuum analyze readings')
  await database.query('checkpoint')
  await database.query(`update rollup_state set closed_device = '', open_from = ${start}, closed_before = ${start}`)
}

async function closeAll (gateway: DatabaseGateway): Promise<RollupRound> {
  const cpu = () => gateway.cpu() ?? { server: NaN, database: NaN }
  const before = cpu()
  const startMs = performance.now()
  const isClosed = async () => (await gateway.database.query(
    'select from rollup_state where closed_before > now() - interval \'10 minutes\'')).rows.length > 0
  while (!await isClosed()) await sleep(POLL_MS)
  const seconds = (performance.now() - startMs) / 1000
  const after = cpu()
  await sleep(IDLE_MS)
  const idle = cpu()
  const used = (side: 'server' | 'database') => {
    const perSecond = (idle[side] - after[side]) / (IDLE_MS / 1000)
    return (after[side] - before[side] - perSecond * seconds) / (READINGS / 1e6)
  }
  return { databaseCpuS: used('database'), gatewayCpuS: used('server'), seconds }
}

/** The report as text. */
export function formatRollups (rounds: readonly RollupRound[]): string {
  const spread = (pick: (round: RollupRound) => number) => {
    const { median, min, max } = toSpread(rounds.map(pick))
    return `${median.toFixed(2)} (${min.toFixed(2)} - ${max.toFixed(2)})`
  }
  return [
    `averages of ${DEVICES} devices x ${READINGS_PER_BUCKET * BUCKETS} readings of seven vital signs, ${BUCKETS} buckets and an hour each`,
    `PostgreSQL  ${spread(({ databaseCpuS }) => databaseCpuS)} CPU s a million readings`,
    `gateway     ${spread(({ gatewayCpuS }) => gatewayCpuS)} CPU s a million readings`
  ].join('\n')
}
