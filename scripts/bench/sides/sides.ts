import { setTimeout as sleep } from 'node:timers/promises'
import { arm, closeGateway } from '../load/credentials.ts'
import type { LoadSettings } from '../load/messages.ts'
import { findMosquitto, startMosquitto } from './mosquitto.ts'
import type { BenchOptions } from '../options.ts'
import { preloadLatest } from '../../harness/preload.ts'
import { type Round, runRound } from '../round.ts'
import type { Supervisor } from './supervisor.ts'
import { type DatabaseGateway, type Gateway, startBare, startGateway, startSpoolGateway, type Target } from './targets.ts'
import type { Workload } from '../workloads.ts'

/** Time for readings that went to the spool to arrive in PostgreSQL. */
const STORED_TIMEOUT_MS = 30_000

/** Connections and rows a batch, as the gateway has them by default. */
const POSTGRES_LOAD = ['2', '2000'] as const

export const REFERENCE_NAMES = {
  broker: 'bare broker',
  http: 'bare Fastify',
  mqtt: 'the same over MQTT',
  postgres: 'PostgreSQL',
  database: 'database store',
  anonymous: 'without credentials',
  none: 'nothing'
} as const

/** One of the servers that are compared. */
export interface Side {
  readonly role: 'gateway' | 'reference' | 'mosquitto'
  readonly target: Target
  readonly run: (settings: LoadSettings) => Promise<Round>
}

/** What the servers of one workload are started with. */
export interface SideOptions {
  readonly supervisor: Supervisor
  readonly workload: Workload
  readonly options: BenchOptions
  readonly profileDir: string | undefined
  readonly say: (line: string) => void
}

/** Runs a round against the gateway, and checks that all it acknowledged is stored. @throws when it is not */
export async function runGatewayRound (supervisor: Supervisor, gateway: Gateway, settings: LoadSettings): Promise<Round> {
  const before = await gateway.stored()
  const round = await runRound(supervisor, gateway, settings)
  const sent = round.report?.readingsSent ?? 0
  const deadlineMs = performance.now() + STORED_TIMEOUT_MS
  let after = await gateway.stored()
  while (after.rows - before.rows < sent && performance.now() < deadlineMs) {
    await sleep(200)
    after = await gateway.stored()
  }
  const found = after.rows - before.rows
  // Readings that PostgreSQL took too long for are in the spool too, and count as duplicates once they are replayed.
  if (found !== sent || after.duplicates > after.replayed || after.deadLettered > 0 || after.refused > 0) {
    throw new Error(`${settings.devicePrefix}: ${sent} readings were acknowledged and ${found} are ${gateway.place}; ` +
      `duplicates ${after.duplicates} (at most ${after.replayed}), dead letters ${after.deadLettered} (0), refused ${after.refused} (0)`)
  }
  return { ...round, replayed: after.replayed - before.replayed }
}

async function startMeasured ({ supervisor, workload, options, profileDir, say }: SideOptions): Promise<Side> {
  const { store, auth, dataDir: parentDir } = options
  const role = 'gateway'
  const grpc = workload.protocol === 'grpc'
  if (store === 'spool') {
    const gateway = await startSpoolGateway(supervisor, { name: 'spool store', parentDir, profileDir, grpc })
    return { role, target: gateway, run: (settings) => runGatewayRound(supervisor, gateway, settings) }
  }
  const gateway = await startGateway(supervisor, { name: auth ? 'with credentials' : 'gateway', parentDir, profileDir, grpc })
  if (workload.devices > 0) {
    await preloadLatest(gateway.database, workload.devices, say)
    await gateway.untilOrdered(workload.devices)
  }
  if (auth) await closeGateway(gateway)
  return {
    role,
    target: gateway,
    run: async (settings) => runGatewayRound(supervisor, gateway, auth ? await arm(gateway, settings) : settings)
  }
}

async function startReference (side: SideOptions, gateway: DatabaseGateway | null): Promise<Side | null> {
  const { supervisor, workload: { reference }, options: { dataDir: parentDir }, profileDir } = side
  const role = 'reference'
  if (reference === 'none') return null
  if (reference === 'postgres') {
    if (gateway === null) return null
    // The same server, without the gateway before it. The gateway stops it.
    const target = { ...gateway, name: REFERENCE_NAMES.postgres, stop: async () => {} }
    const args = [gateway.databaseUrl, ...POSTGRES_LOAD]
    return { role, target, run: (settings) => runRound(supervisor, target, settings, 'postgres-load', args) }
  }
  if (reference === 'mqtt') {
    if (gateway === null) return null
    const target = { ...gateway, name: REFERENCE_NAMES.mqtt, stop: async () => {} }
    const overMqtt = { protocol: 'mqtt', port: gateway.ports.mqtt } as const
    return { role, target, run: (settings) => runGatewayRound(supervisor, gateway, { ...settings, ...overMqtt }) }
  }
  if (reference === 'database' || reference === 'anonymous') {
    const target = await startGateway(supervisor, { name: REFERENCE_NAMES[reference], parentDir, profileDir })
    return { role, target, run: (settings) => runGatewayRound(supervisor, target, settings) }
  }
  const target = await startBare(supervisor, reference)
  return { role, target, run: (settings) => runRound(supervisor, target, settings) }
}

/** Mosquitto stands beside the bare broker, where it is installed. */
async function startThird ({ supervisor, workload }: SideOptions): Promise<Side | null> {
  const mosquitto = workload.reference === 'broker' ? findMosquitto() : null
  if (mosquitto === null) return null
  const target = await startMosquitto(supervisor, mosquitto.file)
  return { role: 'mosquitto', target, run: (settings) => runRound(supervisor, target, settings) }
}

/** Starts the servers that one workload compares. */
export async function startSides (side: SideOptions): Promise<Side[]> {
  const measured = side.options.referenceOnly ? null : await startMeasured(side)
  const gateway = measured !== null && 'database' in measured.target ? measured.target as DatabaseGateway : null
  const reference = await startReference(side, gateway)
  return [measured, reference, await startThird(side)].filter((one) => one !== null)
}
