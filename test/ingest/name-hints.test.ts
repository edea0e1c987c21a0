import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import { toRowAt } from '../../src/ingest/reading-row.ts'
import { createNameHints } from '../../src/ingest/name-hints.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'

function createLog () {
  const lines: Array<{ name?: string, known?: string }> = []
  const logger = pino({ level: 'info' }, { write: (line: string) => { lines.push(JSON.parse(line) as object) } })
  return { logger, hints: () => lines.filter(({ known }) => known !== undefined).map(({ name, known }) => [name, known]) }
}

const toRows = (...names: string[]) => [toRowAt(1, Object.fromEntries(names.map((name) => [name, 1])), 'a', 1)]

t.test('a near miss is stored as it was sent, and logged once', async (t) => {
  const { logger, hints } = createLog()
  const { mqttPort, httpUrl } = await startGateway(t, {}, {}, logger)
  const client = await connectClient(t, mqttPort)
  const post = (body: object) => fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body)
  })
  for (let n = 1; n < 4; n++) {
    await client.publishAsync('vital/a', `{"timestamp":${n},"heart_rate":61,"spo2Value":97,"note":"x"}`,
      { qos: 1 })
  }
  await sleep(5)
  t.equal((await post({ device: 'b', timestamp: 1, heartRate: 61 })).status, 202)
  t.same(hints(), [['heart_rate', 'heartRateValue'], ['heartRate', 'heartRateValue']])
  t.match(await (await fetch(`${httpUrl}/vital-data/a`)).json(), { heartRate: null, vitals: { heart_rate: 61, spo2Value: 97, note: 'x' } })
  t.match(await (await fetch(`${httpUrl}/metrics`)).text(), /^vital_near_miss_names_total 2$/m)
  t.match(await readLedger(httpUrl), { received: 4, stored: 4, balance: 0 })
})

t.test('one message per millisecond is examined', (t) => {
  const { logger, hints } = createLog()
  const { observe, count } = createNameHints(logger)
  observe(toRows('note'), 1)
  observe(toRows('heart_rate'), 1)
  t.equal(count(), 0)
  observe(toRows('heart_rate'), 2)
  t.same(hints(), [['heart_rate', 'heartRateValue']])
  t.end()
})

t.test('names are bounded: a client that invents spellings cannot fill log or memory', (t) => {
  const { logger, hints } = createLog()
  const { observe, count } = createNameHints(logger)
  for (let n = 1; n <= 5000; n++) observe(toRows(`n${n}`), n)
  for (let n = 1; n <= 500; n++) {
    const spelling = [...'heartratevalue'].map((letter, at) => (n >> at) % 2 === 1 ? letter.toUpperCase() : letter).join('')
    observe(toRows(spelling), 10_000 + n)
    observe(toRows(spelling), 20_000 + n)
  }
  t.equal(count(), 100)
  t.equal(hints().length, 100)
  observe(toRows(...Array.from({ length: 200 }, (_, n) => `x${n}`), 'SpO2'), 1e6)
  t.equal(hints().length, 100)
  t.end()
})
