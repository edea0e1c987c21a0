import { fork } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { FAULTS } from '../../../scripts/chaos/catalogue.ts'
import { KAFKA_STRIKES } from '../../../scripts/chaos/cluster/kafka-strikes.ts'
import { REPLICA_STRIKES } from '../../../scripts/chaos/cluster/replica-strikes.ts'
import { drawStrike } from '../../../scripts/chaos/cluster/strike.ts'
import { STRIKES } from '../../../scripts/chaos/cluster/strikes.ts'
import { DEFAULT_LOAD } from '../../../scripts/harness/devices/messages.ts'
import { STREAM_STRIKES } from '../../../scripts/chaos/streams/stream-strikes.ts'
import type { Injection } from '../../../scripts/chaos/rig/injection.ts'
import { createChaosCommand } from '../../../scripts/chaos/options.ts'
import { formatOutcomes } from '../../../scripts/chaos/report.ts'
import { parseCommand, runCommandLine } from '../../helpers/command-line.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'
import { LOADER, toProgram } from '../../helpers/program.ts'

t.test('options', async (t) => {
  const parse = (...args: string[]) => parseCommand(createChaosCommand, args)
  t.equal(await parse('--help'), null)
  t.equal(await parse('--list'), 'list')
  t.match(await parse('--fault', 'kill-gateway', '--cycles', '3', '--seed', '7', '--results', 'none'),
    { faults: [{ name: 'kill-gateway' }], cycles: 3, seed: 7, resultsFile: null, isAll: false, isBuilding: true })
  t.match(await parse('--fault', 'lost-acks', '--mqtt-version', '5', '--break', 'refuse-unstored'),
    { mqttVersion: '5', breaks: 'refuse-unstored' })
  t.match(await parse('--fault', 'all', '--no-build'), { faults: FAULTS, isAll: true, resultsFile: /results\.jsonl$/, isBuilding: false })
  t.match(await parse('--cluster', '--cycles', '3'), {
    isCluster: true, faults: [], strikes: [...STRIKES, ...REPLICA_STRIKES], cycles: 3
  })
  t.match(await parse('--cluster', '--strike', 'kill-redis,cut-redis'), { strikes: [{ name: 'kill-redis' }, { name: 'cut-redis' }] })
  const kafka = ['--kafka', 'jars', '--ack-after', 'spool']
  t.match(await parse('--cluster', ...kafka, '--strike', 'kill-redis,replace-sink', '--break', 'no-epoch'), {
    kafka: { jars: 'jars', brokers: 3, ackAfter: 'spool' }, strikes: [{ name: 'kill-redis' }, { name: 'replace-sink' }], breaks: 'no-epoch'
  })
  t.match(await parse('--cluster', ...kafka, '--streams', '--weed', 'weed', '--readings', '5000', '--strike', 'kill-lake,kill-sink'), {
    streams: { weed: 'weed', flinkJars: null }, readings: 5000, strikes: [{ name: 'kill-lake' }, { name: 'kill-sink' }]
  })
  t.match(await parse('--fault', 'all', '--break', 'early-ack'), { resultsFile: null }, 'a run that must fail leaves no record')
  for (const args of [[], ['--fault', 'nothing'], ['--fault', 'all', '--cycles', '1.5'], ['--fault', 'all', '--break', 'x'],
    ['--fault', 'all', '--mqtt-version', '4'], ['--what'],
    ['--cluster', '--fault', 'sigterm'], ['--fault', 'sigterm', '--strike', 'kill-redis'], ['--cluster', '--strike', 'x'],
    ['--cluster', '--strike', 'kill-sink'], ['--cluster', '--streams'], ['--cluster', ...kafka, '--weed', 'weed'],
    ['--cluster', ...kafka, '--strike', 'kill-replica'], ['--cluster', ...kafka, '--strike', 'kill-lake'],
    ['--fault', 'sigterm', '--readings', '5']]) {
    await t.rejects(parse(...args), { code: 'OPERATOR_USAGE' }, args.join(' '))
  }
})

t.test('the catalogue', async (t) => {
  t.equal(new Set(FAULTS.map(({ name }) => name)).size, FAULTS.length)
  for (const { name, cycles, seconds } of FAULTS) {
    t.match(name, /^[a-z0-9]+(-[a-z0-9]+)*$/)
    for (const extent of [cycles, seconds]) t.ok(extent === undefined || extent.inAll <= extent.alone, name)
  }
})

t.test('strikes are drawn by their weights', async (t) => {
  const strikes = [{ weight: 1, name: 'rare' }, { weight: 3, name: 'often' }].map((strike) => ({ ...strike, run: async () => {} }))
  t.strictSame([0, 0.24, 0.26, 0.99].map((random) => drawStrike(random, strikes).name), ['rare', 'rare', 'often', 'often'])
  const all = [...STRIKES, ...REPLICA_STRIKES, ...KAFKA_STRIKES, ...STREAM_STRIKES]
  t.equal(new Set(all.map(({ name }) => name)).size, all.length)
})

t.test('the command', async (t) => {
  const list = await runCommandLine(['chaos', '--list'])
  t.equal(list.status, 0)
  for (const { name } of FAULTS) t.match(list.stdout, name)
  t.match(await runCommandLine(['chaos', '--fault', 'nothing']), { status: 2, stderr: /--fault knows no "nothing"; it takes kill-gateway/ })
})

t.test('a violation is printed', async (t) => {
  const text = formatOutcomes([{
    fault: 'kill-gateway',
    cycles: 1,
    sent: 3,
    acknowledged: 2,
    resent: 0,
    lost: 1,
    duplicated: 0,
    slowestAckMs: 1500,
    recoveryMs: 900,
    peakRssBytes: 2 ** 27,
    figures: { disconnects: 1, slowestAnswerMs: 250 },
    verdicts: ['p99 of acknowledgements: 90 ms, at most 250 ms: holds'],
    violations: [{ checker: 'C1', message: 'acknowledged and lost: x' }]
  }])
  t.match(text, /1\.50 s +0\.25 s +0\.90 s +128 MiB +1 violated/)
  t.match(text, 'kill-gateway  p99 of acknowledgements: 90 ms, at most 250 ms: holds')
  t.match(text, 'kill-gateway  C1  acknowledged and lost: x')
})

t.test('the gateway under test kills itself at the given failpoint', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const injection: Injection = { failpoint: { at: 'after-commit', pass: 1 } }
  const child = fork(toProgram('scripts/chaos/rig/gateway-under-test.ts'), [JSON.stringify(injection)], {
    execArgv: [...LOADER],
    env: {
      PATH: process.env['PATH'], DATABASE_URL: connectionString, VITAL_DATA_DIR: t.testdir(), VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0'
    },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const port = await new Promise<number>((resolve) => {
    let log = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      log += String(chunk)
      const found = /"protocol":"http"[^\n]*"port":(\d+)[^]*"ready"/.exec(log)?.[1]
      if (found !== undefined) resolve(Number(found))
    })
  })
  const exited = once(child, 'exit')
  const body = JSON.stringify({ device: 'a', timestamp: 1, heartRateValue: 60 })
  await t.rejects(fetch(`http://127.0.0.1:${port}/vital-data`, { method: 'POST', body, headers: { 'content-type': 'application/json' } }),
    'nothing is acknowledged')
  t.equal((await exited)[1], 'SIGKILL')
  t.match(await query('select device from readings'), [{ device: 'a' }], 'after the commit')
})

t.test('every load has devices', async (t) => {
  for (const { name, load } of FAULTS) t.ok({ ...DEFAULT_LOAD, ...load }.devices > 0, name)
})
