import { pino } from 'pino'
import t from 'tap'
import { createClock } from '../src/clock.ts'
import { DeadLetterCaps } from '../src/ingest/dead-letter-caps.ts'
import { exactly } from './helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from './helpers/gateway.ts'
import { post } from './helpers/http-server.ts'

const DAY_MS = 86_400_000

function create (startMs: number) {
  const state = { ownMs: startMs, monotonicMs: 1000 }
  const warnings: string[] = []
  const logger = pino({ level: 'warn' }, { write: (line: string) => { warnings.push(line) } })
  return { state, warnings, clock: createClock({ ownMs: () => state.ownMs, monotonicMs: () => state.monotonicMs, logger }) }
}

t.test('now is the later of both clocks, and PostgreSQL\'s time goes on while PostgreSQL is away', (t) => {
  const { state, clock, warnings } = create(Date.UTC(2026, 0, 1))
  t.notOk(clock.isConfirmed(clock.nowMs()))
  t.equal(clock.nowMs(), Date.UTC(2026, 0, 1))
  clock.observe(Date.UTC(2026, 0, 4), 1000)
  t.ok(clock.isConfirmed(clock.nowMs()))
  t.equal(clock.differenceS(), 3 * 86_400)
  state.monotonicMs += 5000
  state.ownMs += 5000
  t.equal(clock.nowMs(), Date.UTC(2026, 0, 4) + 5000)
  clock.observe(Date.UTC(2026, 0, 4) + 5000, state.monotonicMs)
  t.equal(warnings.length, 1, 'told once')
  t.match(clock.warnings(), exactly(/259200 s behind PostgreSQL's/))
  state.ownMs = Date.UTC(2026, 0, 7)
  t.equal(clock.nowMs(), Date.UTC(2026, 0, 7), 'ours was set')
  t.match(clock.warnings(), exactly(/ahead of PostgreSQL's/))
  t.end()
})

t.test('two clocks that were never set do not confirm each other', (t) => {
  const { clock } = create(5000)
  clock.observe(6000, 1000)
  t.notOk(clock.isConfirmed(clock.nowMs()))
  t.end()
})

t.test('a gateway whose clock is days behind stores what devices send, and says so', async (t) => {
  const gateway = await startGateway(t, {}, { nowMs: () => Date.now() - 3 * DAY_MS })
  const device = await connectClient(t, gateway.mqttPort)
  for (let n = 0; n < 20; n++) await device.publishAsync('vital/ward-3', JSON.stringify({ timestamp: Date.now() / 1000, n }), { qos: 1 })
  t.match(await readLedger(gateway.httpUrl), { stored: 20, deadLettered: 0, refused: 0, balance: 0 })
  const ready = await (await fetch(`${gateway.httpUrl}/health/ready`)).json() as { warnings: string[] }
  t.match(ready.warnings.join(), /gateway's clock is 25920\d s behind/)
  const [, difference] = /^vital_clock_difference_seconds (\S+)/m.exec(await (await fetch(`${gateway.httpUrl}/metrics`)).text()) ?? []
  t.ok(Math.abs(Number(difference) - 3 * 86_400) < 60)
  const { timestamp } = await (await fetch(`${gateway.httpUrl}/vital-data/ward-3`)).json() as { timestamp: number }
  t.ok(Math.abs(timestamp - Date.now() / 1000) < 60, 'and the latest state has the time of today')
})

t.test('silentFor counts by the later of both clocks', async (t) => {
  for (const offsetMs of [-DAY_MS, DAY_MS]) {
    const { httpUrl } = await startGateway(t, {}, { nowMs: () => Date.now() + offsetMs })
    await post(httpUrl, JSON.stringify({ device: 'ward-3', timestamp: Date.now() / 1000 - 600 }))
    for (const [silentFor, expected] of [['5m', 1], ['30m', offsetMs > 0 ? 1 : 0]] as const) {
      const { total } = await (await fetch(`${httpUrl}/vital-data?silentFor=${silentFor}`)).json() as { total: number }
      t.equal(total, expected, `${offsetMs} ms, ${silentFor}`)
    }
  }
})

t.test('full caps of dead letters are warnings in readiness', (t) => {
  let told = 0
  const caps = new DeadLetterCaps({ deadLettersMax: 3, deadLettersPerDeviceMax: 2, deadLetterBytesMax: 100 }, () => { told++ })
  t.same(caps.warnings(), [])
  for (let n = 0; n < 4; n++) caps.admit('a', 10)
  t.match(caps.warnings(), exactly(/of 1 device no more dead letters are kept/))
  caps.admit('b', 10)
  caps.admit('b', 10)
  t.match(caps.warnings(), exactly(/dead letters are full/))
  t.equal(told, 1)
  caps.load([])
  t.same(caps.warnings(), [])
  for (let n = 0; n < 4; n++) caps.admit('a', 10)
  t.equal(told, 2)
  t.end()
})
