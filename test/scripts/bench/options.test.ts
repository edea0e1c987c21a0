import { parser } from 'mqtt-packet'
import t from 'tap'
import { type Comparison, formatAgainst, isWorse } from '../../../scripts/bench/against.ts'
import { toChart } from '../../../scripts/bench/report/chart.ts'
import type { LoadSettings } from '../../../scripts/bench/load/messages.ts'
import { createBenchCommand } from '../../../scripts/bench/options.ts'
import { parseCommand } from '../../helpers/command-line.ts'
import { exactly } from '../../helpers/exactly.ts'
import { encodeConnect } from '../../../scripts/harness/packet-encoder.ts'
import { checkRoom } from '../../../scripts/harness/preload.ts'
import { formatOutcomes, type Outcome, summarize } from '../../../scripts/bench/report/report.ts'
import { Sender } from '../../../scripts/bench/load/sender.ts'
import { parseWorkloads } from '../../../scripts/bench/workloads.ts'

const parse = (args: readonly string[]) => parseCommand(createBenchCommand, args)

const round = (target: string, rate: number) => ({
  target, metrics: { rate, p99: rate / 100 }, cpu: null, peakRssBytes: null, otherCores: 0, replayed: 0, report: null
})

async function toOutcome (name: string, rates: { gateway: number[], reference: number[], mosquitto: number[] }): Promise<Outcome> {
  const [workload] = (await parse(name === 'auth' ? ['--auth'] : ['--workload', name]))?.workloads ?? []
  if (workload === undefined) throw new Error(`no workload ${name}`)
  return {
    workload,
    gateway: rates.gateway.map((rate) => round('gateway', rate)),
    reference: rates.reference.map((rate) => round('reference', rate)),
    mosquitto: rates.mosquitto.map((rate) => round('Mosquitto', rate)),
    referenceName: 'bare <broker>',
    stored: 1
  }
}

t.test('sizes, history, credentials and charts are options', async (t) => {
  t.same((await parse(['--scale', 'devices=1000,1000000', '--history', '5000']))?.scale, { devices: [1000, 1_000_000], history: 5000 })
  t.same((await parse(['--scale', 'devices=7']))?.scale, { devices: [7], history: 0 })
  const plain = await parse([])
  t.match(plain, {
    scale: null, attacks: null, against: null, rounds: 5, warmupMs: 2000, measureMs: 5000, build: true, cpuProf: false, store: 'database'
  })
  t.equal((await parse(['--no-build']))?.build, false)
  await t.rejects(parse(['--scale', '1000']), /devices=N/)
  await t.rejects(parse(['--scale', 'devices=10000001']), /from 1 to 10000000/)
  await t.rejects(parse(['--history', '5']), /goes with --scale/)
  t.match((await parse(['--auth', '--workload', '7x3']))?.workloads, exactly({ name: '7x3', reference: 'anonymous' }))
  for (const name of ['http', 'get', 'postgres']) await t.rejects(parse(['--auth', '--workload', name]), new RegExp(`workload "${name}"`))
  await t.rejects(parse(['--auth', '--store', 'spool']), /do not go together/)
  await t.rejects(parse(['--attack', 'nothing']), /--attack knows no "nothing"/)
  t.ok(plain?.workloads.some(({ traffic }) => traffic === 'get'), 'GETs are measured by default')
  t.match(parseWorkloads('get@10000'),
    exactly({ name: 'get@10000', traffic: 'get', ratePerS: 10_000, devices: 100_000, about: /while 10,000 readings/ }))
  t.throws(() => parseWorkloads('get@0'), /unknown workload/)
  t.ok(['open@10000', 'open@40000'].every((name) => plain?.workloads.some((workload) => workload.name === name)))
})

t.test('a device authenticates with its secret', (t) => {
  const decoder = parser()
  decoder.on('packet', (packet) => {
    t.match(packet, { cmd: 'connect', clientId: 'bed-1', username: 'bed-1', password: Buffer.from('vg_x'), clean: true })
    t.end()
  })
  decoder.parse(encodeConnect('bed-1', 60, { secret: 'vg_x' }))
})

t.test('a connection of a fleet publishes for many devices, each a valid new reading', (t) => {
  const [workload] = parseWorkloads('get')
  if (workload === undefined) throw new Error('no workload')
  const seen = new Set<string>()
  const decoder = parser()
  decoder.on('packet', (packet) => {
    if (packet.cmd !== 'publish') throw new Error(packet.cmd)
    t.match(packet.topic, /^vital\/fleet-00000[0-4]\d$/)
    t.ok(JSON.parse(packet.payload.toString()))
    seen.add(packet.topic)
  })
  const socket = { write: (bytes: Buffer) => { decoder.parse(Buffer.from(bytes)) } }
  const settings = {
    ...workload, devicePrefix: 'fleet', devices: 50, secrets: null, port: 0, warmupMs: 0, measureMs: 0
  } satisfies LoadSettings
  const sender = new Sender(settings, socket as never, 3)
  for (let index = 0; index < 1000; index++) {
    sender.send(1, 1_760_000_000_000_000)
    sender.answer()
  }
  t.equal(seen.size, 50, 'all of them')
  t.end()
})

t.test('Mosquitto is listed beside the reference, ratios first', async (t) => {
  const outcome = await toOutcome('7x3', { gateway: [300, 400], reference: [600, 800], mosquitto: [1200, 1600] })
  const text = formatOutcomes([outcome], 'database')
  t.match(text,
    /^gateway \/ reference +ratio +reference\n7x3 +0\.50 \(0\.50 - 0\.50\) +bare <broker>\n7x3 +0\.25 \(0\.25 - 0\.25\) +Mosquitto\n/)
  t.match(text, /\n7x3 +readings\/s +350 \(300 - 400\) +700 \(600 - 800\) +1,400 \(1,200 - 1,600\)\n/)
  const auth = async (gateway: number) => formatOutcomes([await toOutcome('auth', { gateway: [gateway], reference: [100], mosquitto: [] })],
    'database')
  t.match(await auth(97), /credentials cost 3\.0 % of the rate, at most 5 %: holds/)
  t.match(await auth(94), /credentials cost 6\.0 % of the rate, at most 5 %: DOES NOT HOLD/)
})

t.test('the chart is well-formed and holds every rate', async (t) => {
  const summary = summarize([await toOutcome('7x3', { gateway: [300, 400], reference: [600, 800], mosquitto: [1200, 1600] })])
  const machine = {
    cpu: 'a <cpu> & more',
    cores: 2,
    memoryGiB: 1,
    system: 'linux',
    node: 'v20',
    commit: 'abc',
    packages: {},
    fileSystem: 'ext4',
    fdatasyncMs: 1,
    loadBefore: 0
  }
  const svg = toChart(summary, machine, { rounds: 2, measureMs: 1000, store: 'database', auth: false })
  t.match(svg, '350 (300 to 400) gateway')
  t.match(svg, '1,400 (1,200 to 1,600) Mosquitto')
  t.match(svg, '0.50 (0.50 to 0.50) of bare &#60;broker&#62;')
  t.notMatch(svg, /NaN|undefined|<cpu>/)
  t.equal(svg.match(/<text /g)?.length, svg.match(/<\/text>/g)?.length)
})

t.test('a history larger than the disk is refused before it is written', (t) => {
  t.doesNotThrow(() => checkRoom('.', -(2 ** 40)), 'a negative size always fits')
  t.throws(() => checkRoom('.', 1e15), /readings need .* GiB of disk/)
  t.end()
})

t.test('a change is worse only beyond 5 % and beyond the difference of two equal builds', async (t) => {
  const [workload] = parseWorkloads('50x20')
  if (workload === undefined) throw new Error('no workload')
  const rounds = (seconds: readonly number[]) => seconds.map((server) => ({ ...round('x', 1), cpu: { server, database: 1 } }))
  const compare = (now: number[], again: number[], before: number[]): Comparison =>
    ({ workload, rounds: { now: rounds(now), again: rounds(again), before: rounds(before) } })
  t.equal(isWorse(compare([9, 9, 9], [9, 9, 9], [9, 9, 9])), false)
  t.equal(isWorse(compare([9.4, 9.4, 9.4], [9.4, 9.4, 9.4], [9, 9, 9])), false, '4 %')
  t.equal(isWorse(compare([10, 10, 10], [10, 10, 10], [9, 9, 9])), true, '10 %')
  t.equal(isWorse(compare([10, 10, 10], [8, 8, 8], [9, 9, 9])), false, 'the equal pair differs by more')
  t.equal(isWorse(compare([10, 10, 10], [12.5, 12.5, 12.5], [9, 9, 9])), false, 'and also in the other direction')
  t.equal(isWorse({ workload, rounds: { now: [round('x', 1)], again: [round('x', 1)], before: [round('x', 1)] } }), null, 'no /proc')
  t.match(formatAgainst([compare([10, 10], [10, 10], [9, 9])]), /50x20 +1\.10 \(1\.10 - 1\.10\).*WORSE\nFewer than 7 rounds/)
  await t.rejects(parse(['--against', '.', '--auth']), /do not go together/)
  t.equal((await parse(['--against', 'x']))?.against, 'x')
})
