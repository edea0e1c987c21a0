import type { Test } from 'tap'
import type { ErasureAnswer } from '../../schemas/erasure.ts'
import type { ErasureStep } from '../../src/operations/erasure-requests.ts'
import type { createDatabaseSwitch } from './database-switch.ts'
import { connectClient, readLedger } from './gateway.ts'
import { spawnGateway } from './gateway-process.ts'
import { until } from './until.ts'

/** A gateway that kills itself at a step of an erasure. */
export const DOOMED = 'test/operations/doomed-gateway.ts'

type Query = <Row extends Record<string, unknown>>(text: string, values?: unknown[]) => Promise<Row[]>

/** Asks a gateway to erase a device. */
export async function erase (httpUrl: string, device = 'a'): Promise<ErasureAnswer & { status: number, message?: string }> {
  const response = await fetch(`${httpUrl}/vital-data/${device}`, { method: 'DELETE' })
  return { status: response.status, ...await response.json() as ErasureAnswer }
}

/** Publishes `count` readings of `a` and of `b` with timestamps from `from` on, and an invalid one. Settles when acknowledged. */
export async function publish (t: Test, port: number, from: number, count = 5): Promise<void> {
  const client = await connectClient(t, port)
  await Promise.all(Array.from({ length: count }, (_, n) => ['a', 'b'].map((device) =>
    client.publishAsync(`vital/${device}`, `{"timestamp":${from + n},"heartRateValue":61}`, { qos: 1 }))).flat())
  await client.publishAsync('vital/a', `no json ${from}`, { qos: 1 })
  await client.endAsync()
}

/** The number of readings in PostgreSQL, by device. */
export const countsOf = async (query: Query) => Object.fromEntries((await query<{ device: string, n: number }>(
  'select device, count(*)::int as n from readings group by 1')).map(({ device, n }) => [device, n]))

/** A gateway as a process of its own that kills itself at a step. */
export async function spawnDoomed (t: Test, variables: Record<string, string>, step: ErasureStep | 'never' = 'never') {
  const gateway = await spawnGateway(t, variables, { program: DOOMED, args: [step] })
  await gateway.said(/^ready$/)
  const portOf = (protocol: string) => gateway.lines.find((line) => line.protocol === protocol)!.port!
  return { ...gateway, mqttPort: portOf('mqtt'), httpUrl: `http://127.0.0.1:${portOf('http')}` }
}

/** Leaves readings from 100 on in PostgreSQL, and readings from 200 on in the spool of a gateway that is then killed. */
export async function leaveSpool (
  t: Test, database: Awaited<ReturnType<typeof createDatabaseSwitch>>, variables: Record<string, string>
): Promise<void> {
  const dead = await spawnDoomed(t, variables)
  await publish(t, dead.mqttPort, 100)
  await database.off()
  await publish(t, dead.mqttPort, 200)
  dead.child.kill('SIGKILL')
  await dead.exited
  await database.on()
}

/** Settles when nothing waits in the spool. */
export const drained = ({ httpUrl }: { readonly httpUrl: string }) =>
  until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool to be replayed')

/** The states of an erasure at all gateways, sorted. */
export const states = ({ gateways }: ErasureAnswer) => gateways.map(({ state }) => state).sort()
