/** SIGTERM with open streams: the process ends in time, and every STORED is stored. */
import t from 'tap'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { openGrpcClient } from '../helpers/grpc.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const STREAMS = 50
const STOP_MAX_MS = 15_000

t.test('SIGTERM while 50 streams send: exit 0 within 15 s, and readings answered STORED are stored', { timeout: 120_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await spawnGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0' })
  await gateway.said(/^ready$/)
  const { port = 0 } = gateway.lines.find(({ protocol }) => protocol === 'grpc')!
  const streams = Array.from({ length: STREAMS }, (_, index) => ({ device: `d${index}`, ...openGrpcClient(t, port).open() }))
  // A client that reads no answers, so that its stream cannot end in order.
  streams[0]!.stream.pause()
  let number = 0
  const timer = setInterval(() => {
    for (const { write, device, status } of streams) {
      if (status() === null) write({ number: ++number, readings: [{ device, timestamp: 1750240000 + number }] })
    }
  }, 5)
  t.teardown(() => { clearInterval(timer) })
  const answered = () => streams.flatMap(({ answers }) => answers)
  await until(() => answered().length > 500, 'answers')
  const startMs = performance.now()
  gateway.child.kill('SIGTERM')
  t.same(await gateway.exited, [0, null])
  const tookMs = performance.now() - startMs
  clearInterval(timer)
  t.ok(tookMs < STOP_MAX_MS, `${Math.round(tookMs)} ms`)
  // On a busy machine some readings may have gone to the spool.
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: gateway.dataDir })
  await until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool to be empty')
  const rows = await query('select (extract(epoch from time) - 1750240000)::text as number from readings') as Array<{ number: string }>
  const numbers = new Set(rows.map(({ number }) => String(Math.round(Number(number)))))
  const of = (outcome: string) => answered().filter((answer) => answer.outcome === outcome)
  t.ok(of('STORED').length > 500)
  t.strictSame(of('STORED').filter(({ number }) => !numbers.has(number)), [])
  // Readings that came while the gateway stopped: their devices keep them.
  t.equal(of('STORED').length + of('UNAVAILABLE').length, answered().length)
  for (const { status } of streams.slice(1)) await until(() => status() !== null, 'the end of a stream')
  const codes = new Set(streams.slice(1).map(({ status }) => status()?.code))
  t.strictSame([...codes], [14], 'UNAVAILABLE: to be opened again')
})
