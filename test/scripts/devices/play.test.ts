import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { startBroker } from './fleet/broker.ts'
import { FIXTURES, runScript, startScript } from './fleet/script.ts'

const START_S = 1_735_689_600
const ARGS = ['--data', FIXTURES, '--start', String(START_S)]
const READINGS = 240

/** Parses the CSV independently of the script, so that the test does not repeat its errors. */
async function readRows (number: string): Promise<string[][]> {
  const text = await readFile(join(FIXTURES, `bidmc_${number}_Numerics.csv`), 'utf8')
  return text.trim().split('\n').slice(1).map((line) => line.split(','))
}

t.test('every row arrives, in order, and is acknowledged', async (t) => {
  const broker = await startBroker(t)
  const { status, stdout, stderr } = await runScript(t, 'play', [...ARGS, '--url', broker.url, '--speed', 'max'])
  t.equal(status, 0)
  t.equal(stderr, '')
  t.match(stdout, /sent +240 of 240 readings/)
  t.match(stdout, /acknowledged +240\n/)
  t.match(stdout, /unacknowledged +0\n/)
  t.match(stdout, /acknowledgement p50 \S+ ms, p99 \S+ ms, max \S+ ms/)
  t.match(stdout, /RESP 0 is a poor signal and was left out: bidmc-13 \(17 rows\)/)
  t.match(stdout, /BIDMC PPG and Respiration Dataset.*ODC-By 1\.0/)
  t.equal(broker.received.length, READINGS)
  for (const number of ['13', '19', '23']) {
    const rows = await readRows(number)
    const expected = rows.map(([, heart, pulse, resp, spo2], second) => Object.fromEntries([
      ['timestamp', START_S + second],
      ['heartRateValue', Number(heart)],
      ['breathRateValue', Number(resp)],
      ['pulseRateValue', Number(pulse)],
      ['spo2Value', Number(spo2)]
    ].filter(([key, value]) => !Number.isNaN(value) && !(key === 'breathRateValue' && value === 0))))
    const got = broker.received.filter(({ topic }) => topic === `vital/bidmc-${number}`).map(({ body }) => body)
    t.strictSame(got, expected, `recording ${number}`)
  }
})

t.test('one device, RESP 0 as a value, and no --start: no timestamp is in the future', async (t) => {
  const broker = await startBroker(t)
  const { status, stdout } = await runScript(t, 'play',
    ['--data', FIXTURES, '--url', broker.url, '--speed', '0', '--resp-zero', 'send', '--devices', 'bidmc-13'])
  t.equal(status, 0)
  t.notMatch(stdout, /poor signal/)
  t.equal(broker.received.length, 80)
  t.equal(broker.received.filter(({ body }) => body['breathRateValue'] === 0).length, 17)
  const latest = Math.max(...broker.received.map(({ body }) => body['timestamp'] as number))
  const nowS = Date.now() / 1000
  t.ok(latest <= nowS && latest > nowS - 120, `${nowS - latest} s ago`)
})

t.test('Ctrl-C stops, waits for acknowledgements and reports', async (t) => {
  const broker = await startBroker(t)
  const script = startScript(t, 'play', [...ARGS, '--url', broker.url, '--speed', '1'])
  while (broker.received.length < 3) await once(broker.aedes, 'publish')
  script.interrupt()
  const { status, stdout } = await script.done
  t.equal(status, 0)
  t.match(stdout, /unacknowledged +0\n/)
  t.match(stdout, /stopped on request, 23\d readings not sent/)
})

t.test('--loop goes on beyond the end of the recordings, with current times, until it is stopped', async (t) => {
  const broker = await startBroker(t)
  const startedAtS = Date.now() / 1000
  const script = startScript(t, 'play', ['--data', FIXTURES, '--url', broker.url, '--speed', '100', '--loop', '--devices', 'bidmc-19'])
  while (broker.received.length < 200) await once(broker.aedes, 'publish')
  script.interrupt()
  const { status, stdout } = await script.done
  t.equal(status, 0)
  t.match(stdout, /--loop, --speed 100: from now on, until it is stopped\n/)
  t.match(stdout, /sent +[2-9]\d\d readings in/)
  t.match(stdout, /unacknowledged +0\n/)
  t.match(stdout, /stopped on request\n/)
  const values = broker.received.map(({ body: { timestamp, ...values } }) => values)
  t.strictSame(values.slice(80, 160), values.slice(0, 80), 'the second lap equals the first')
  const times = broker.received.map(({ body }) => body['timestamp'] as number)
  t.ok(times.every((time, index) => time > (times[index - 1] ?? startedAtS - 1) && time <= Date.now() / 1000))
})

t.test('readings without acknowledgement fail the run', async (t) => {
  const broker = await startBroker(t, { acknowledge: () => false })
  const { status, stdout } = await runScript(t, 'play',
    [...ARGS, '--url', broker.url, '--speed', 'max', '--in-flight', '5', '--patience', '0.5'])
  t.equal(status, 1)
  t.match(stdout, /unacknowledged +15\n/)
  t.match(stdout, /gave up: no acknowledgement came any more, 225 readings not sent/)
})

t.test('a gateway that does not answer', async (t) => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const { status, stdout, stderr } = await runScript(t, 'play', [...ARGS, '--url', `mqtt://127.0.0.1:${port}`])
  t.equal(status, 1)
  t.match(stderr, /^vital-gateway play: cannot connect to mqtt:\/\/127\.0\.0\.1:\d+: connect ECONNREFUSED/)
  t.match(stderr, /Is the gateway running\?/)
  t.equal(stdout, '')
})

t.test('wrong usage is named and ends with 2', async (t) => {
  const cases: Array<[string[], RegExp]> = [
    [['--sped', '60'], /^vital-gateway play: unknown option '--sped'\n\(Did you mean --speed\?\)\nSee vital-gateway play --help\n$/],
    [['--url', 'mqtt://user:hunter2@127.0.0.1'], /^vital-gateway play: --url must hold no user and no password/],
    [['--loop', '--speed', 'max'], /^vital-gateway play: --loop needs a speed/],
    [['--loop', '--start', '0'], /^vital-gateway play: --loop plays from now on: leave out --start/],
    [['--data', FIXTURES, '--devices', 'bidmc-99'], /--devices names "bidmc-99"/]
  ]
  for (const [args, message] of cases) {
    const { status, stderr } = await runScript(t, 'play', args)
    t.equal(status, 2, args.join(' '))
    t.match(stderr, message)
  }
})
