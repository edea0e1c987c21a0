/** PostgreSQL and the spool both fail for some seconds, then the gateway restarts: no reading answered STORED is lost. */
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { realDisk } from '../../src/ingest/journal/spool/disk.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { type GrpcStream, openGrpcClient, type ProtoReading } from '../helpers/grpc.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const DEVICES = 5
const PERIOD_MS = 20

/** A device as README.md describes it: it keeps each reading until STORED or DUPLICATE, and opens its stream again. */
function startDevice (device: string, open: () => GrpcStream) {
  const kept = new Map<string, ProtoReading>()
  const outcomes: Record<string, number> = {}
  const stored = new Set<number>()
  let number = 0
  let stream = open()
  let seen = 0
  let streams = 1
  const write = (given: string) => { stream.write({ number: given, readings: [kept.get(given)!] }) }
  const send = setInterval(() => {
    kept.set(String(++number), { device, timestamp: 1750240000 + number, heartRateValue: 60 })
    write(String(number))
  }, PERIOD_MS)
  const read = setInterval(() => {
    for (const answer of stream.answers.slice(seen)) {
      seen++
      outcomes[answer.outcome] = (outcomes[answer.outcome] ?? 0) + 1
      const reading = kept.get(answer.number)
      if (reading === undefined) throw new Error(`an answer to nothing: ${answer.number}`)
      if (answer.outcome === 'STORED' || answer.outcome === 'DUPLICATE') {
        stored.add(reading.timestamp!)
        kept.delete(answer.number)
      } else if (answer.outcome === 'UNAVAILABLE') setTimeout(() => { if (kept.has(answer.number)) write(answer.number) }, 200)
      else throw new Error(JSON.stringify(answer))
    }
    if (stream.status() === null) return
    stream = open()
    streams++
    seen = 0
    for (const given of kept.keys()) write(given)
  }, 10)
  return {
    stored,
    outcomes,
    kept,
    streams: () => streams,
    stopSending: () => { clearInterval(send) },
    stop: () => {
      clearInterval(send)
      clearInterval(read)
    }
  }
}

function isFree (port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => { resolve(false) })
    server.listen(port, '127.0.0.1', () => { server.close(() => { resolve(true) }) })
  })
}

t.test('an outage of both, and a restart: readings answered STORED are stored, and streams go on', { timeout: 120_000 }, async (t) => {
  const database = await createDatabaseSwitch(t)
  let isBroken = false
  const disk: typeof realDisk = {
    ...realDisk,
    async create (path) {
      if (isBroken) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      return await realDisk.create(path)
    }
  }
  const variables = {
    DATABASE_URL: database.connectionString, VITAL_DATA_DIR: await createTestDir(t), VITAL_GRPC_PORT: '0', VITAL_ACK_TIMEOUT_MS: '1000'
  }
  const first = await startGateway(t, variables, { disk })
  const port = first.grpcPort!
  // grpc-js waits up to two minutes between attempts; a device would set this, too.
  const options = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 200 }
  const devices = Array.from({ length: DEVICES }, (_, index) => {
    const client = openGrpcClient(t, port, { options })
    return startDevice(`d${index}`, () => client.open())
  })
  t.teardown(() => { for (const device of devices) device.stop() })
  const sum = (outcome: string) => devices.reduce((total, { outcomes }) => total + (outcomes[outcome] ?? 0), 0)
  await until(() => sum('STORED') > 200, 'traffic')
  isBroken = true
  await database.off()
  await until(async () => (await fetch(`${first.httpUrl}/health/ready`)).status === 503, 'the outage')
  const before = sum('STORED')
  await until(() => sum('UNAVAILABLE') > 0, 'UNAVAILABLE')
  await sleep(3000)
  t.ok(sum('STORED') - before < 50, 'almost nothing is answered STORED during the outage')
  t.strictSame(devices.map(({ streams }) => streams()), devices.map(() => 1), 'the streams go on')
  isBroken = false
  await database.on()
  await until(() => sum('STORED') > before + 200, 'traffic again')
  await until(async () => (await readLedger(first.httpUrl)).balance === 0, 'the ledger')
  await first.stop()

  // The system may have given the port to a connection of another test file.
  await until(() => isFree(port), 'the port to be free')
  const second = await startGateway(t, { ...variables, VITAL_GRPC_PORT: String(port) }, { disk })
  const restarted = sum('STORED')
  await until(() => sum('STORED') > restarted + 200, 'traffic after the restart')
  for (const device of devices) device.stopSending()
  await until(() => devices.every(({ kept }) => kept.size === 0), 'everything to be stored')
  for (const device of devices) device.stop()
  await until(async () => (await readLedger(second.httpUrl)).pending === 0, 'the spool')
  for (const [index, { stored }] of devices.entries()) {
    const rows = await database.query('select extract(epoch from time)::float8 as time from readings where device = $1', [`d${index}`])
    const times = new Set((rows as Array<{ time: number }>).map(({ time }) => time))
    t.strictSame([...stored].filter((time) => !times.has(time)), [], `d${index}: ${stored.size} were acknowledged`)
    t.equal(rows.length, stored.size, 'each once')
  }
  t.ok(devices.every(({ streams }) => streams() >= 2), 'each stream was opened again')
  t.equal((await readLedger(second.httpUrl)).balance, 0)
})
