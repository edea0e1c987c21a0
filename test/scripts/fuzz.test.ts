import { mkdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { Belongings } from '../../scripts/harness/belongings.ts'
import { createSession } from '../../scripts/fuzz/sessions/attack.ts'
import { SessionRandom } from '../../scripts/fuzz/sessions/session-random.ts'
import { checkGoodClient, checkGrowth, checkLog } from '../../scripts/fuzz/checks/checks.ts'
import type { Checkpoint } from '../../scripts/fuzz/checks/gateway-state.ts'
import { frame, mutate } from '../../scripts/fuzz/sessions/mutate.ts'
import { createFuzzCommand, type FuzzOptions } from '../../scripts/fuzz/options.ts'
import { BUGS } from '../../scripts/fuzz/planted-bugs.ts'
import { copyProgram } from '../../scripts/fuzz/program.ts'
import { plantBug } from '../../scripts/harness/plant-bug.ts'
import { formatOutcome } from '../../scripts/fuzz/report/report.ts'
import { type FuzzOutcome, runFuzz } from '../../scripts/fuzz/run.ts'
import { type Session, type Target, TARGETS } from '../../scripts/fuzz/sessions/session.ts'
import { parseCommand, runCommandLine } from '../helpers/command-line.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'

const ROOT = join(import.meta.dirname, '../..')

t.test('options', async (t) => {
  const parse = (...args: string[]) => parseCommand(createFuzzCommand, args)
  t.equal(await parse('--help'), null)
  t.match(await parse(), { packets: 1_000_000, targets: TARGETS, from: 0, rounds: 10, resultsFile: /results\.jsonl$/ })
  t.match(await parse('--seed', '7', '--seconds', '3', '--target', 'mqtt,http', '--results', 'none'),
    { seed: 7, seconds: 3, packets: Infinity, targets: exactly('mqtt', 'http'), resultsFile: null })
  t.match(await parse('--break', 'stall'), { bug: 'stall', resultsFile: null }, 'a run that must fail leaves no record')
  for (const args of [['--seed', 'x'], ['--packets', '0'], ['--target', 'udp'], ['--break', 'x'], ['--what']]) {
    await t.rejects(parse(...args), { code: 'OPERATOR_USAGE' }, args.join(' '))
  }
})

t.test('the command', async (t) => {
  t.match(await runCommandLine(['fuzz', '--help']), { status: 0, stdout: /--seed <n>/ })
  t.match(await runCommandLine(['fuzz', '--break', 'nothing']), { status: 2, stderr: /deep-json/ })
})

t.test('a session is determined by seed, targets and number', async (t) => {
  for (const target of TARGETS) {
    const bytes = (seed: number, index: number) => Buffer.concat(createSession({ seed, targets: [target] }, index).pieces)
    t.ok(bytes(3, 5).equals(bytes(3, 5)), target)
    t.notOk(bytes(3, 5).equals(bytes(3, 6)) || bytes(3, 5).equals(bytes(4, 5)), `${target}: another seed or number`)
  }
  const targets = Array.from({ length: 200 }, (_, index) => createSession({ seed: 1, targets: TARGETS }, index).target)
  t.strictSame([...new Set(targets)].sort(), [...TARGETS].sort())
})

t.test('mutation', async (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = new SessionRandom(seed)
  const packet = frame(0x32, Buffer.from('\0\x07vital/a\0\x01{}'))
  t.equal(packet[1], packet.length - 2)
  let changed = 0
  for (let times = 0; times < 2000; times++) if (!mutate(packet, random).equals(packet)) changed++
  t.ok(changed > 1900, `${changed} of 2000`)
  t.equal(packet.toString(), '2\x0d\0\x07vital/a\0\x01{}', 'the packet itself stays as it was')
})

t.test('checks', async (t) => {
  const checkpoint = (changes: Partial<Checkpoint>): Checkpoint =>
    ({ packets: 0, heapBytes: 2 ** 25, externalBytes: 0, rssBytes: 2 ** 27, descriptors: 30, clients: 6, kept: {}, ...changes })
  const found = (...checkpoints: Checkpoint[]) => checkGrowth(checkpoints).map(({ check }) => check)
  t.strictSame(found(checkpoint({}), checkpoint({ heapBytes: 2 ** 25 + 2 ** 24, descriptors: 35 })), [])
  t.strictSame(found(checkpoint({}), checkpoint({ heapBytes: 2 ** 26 })), ['memory'])
  t.strictSame(found(checkpoint({}), checkpoint({ externalBytes: 2 ** 25 })), ['memory'])
  t.strictSame(found(checkpoint({}), checkpoint({ externalBytes: 2 ** 25, kept: { retained_bytes: 2 ** 24, sessions: 1 } })), [])
  t.strictSame(found(checkpoint({}), checkpoint({ descriptors: 60 })), ['descriptors'])
  t.strictSame(checkLog([{ level: 30, msg: 'ready' }]), [])
  t.match(checkLog([{ level: 60, msg: 'a bug ends the process' }]), exactly({ check: 'log' }))
  t.match(checkLog([{ msg: '{"heartRateValue":"privatus"' }]), exactly({ check: 'log' }))
  const good = { slowestMs: 1500, pauseMs: 0, disconnects: 0, faults: [], unacknowledged: 0 }
  t.strictSame(checkGoodClient(good), [])
  t.strictSame(checkGoodClient({ ...good, slowestMs: 3000, pauseMs: 1500 }), [])
  for (const changes of [{ slowestMs: 3000 }, { disconnects: 1 }, { unacknowledged: 1 }, { faults: ['out of turn'] }]) {
    t.match(checkGoodClient({ ...good, ...changes }), exactly({ check: 'good client' }))
  }
})

t.test('every planted bug can be applied to the sources', async (t) => {
  for (const { file, find } of Object.values(BUGS)) t.ok(readFileSync(join(ROOT, file), 'utf8').includes(find), `${file}: ${find}`)
})

/** Whether the session sends an array that JSON.stringify cannot write. */
function overflows ({ pieces }: Session): boolean {
  const stream = Buffer.concat(pieces)
  if (!stream.includes(Buffer.from('['.repeat(9000)))) return false
  let isFound = false
  mqttPacket.parser().on('packet', (packet: Packet) => {
    if (packet.cmd !== 'publish') return
    try {
      const value: unknown = JSON.parse(packet.payload.toString())
      if (Array.isArray(value)) JSON.stringify(value)
    } catch (error) {
      isFound ||= error instanceof RangeError
    }
  }).parse(stream)
  return isFound
}

t.test('a short run of the correct build, and of one with a planted bug', { timeout: 120_000 }, async (t) => {
  const belongings = new Belongings()
  t.teardown(() => { belongings.end() })
  const base = await createTestDir(t)
  const program = copyProgram(base)
  t.strictSame(Object.values(program).map((path) => relative(join(base, 'app/dist'), path).replace(/js$/, 'ts')),
    [
      'src/main.ts', 'scripts/fuzz/checks/collect-garbage.ts', 'scripts/fuzz/sessions/attacker.ts', 'scripts/harness/devices/publisher.ts',
      'scripts/fuzz/checks/reader.ts'
    ])

  async function fuzz (
    name: string, how: { seed: number, seconds: number, packets?: number, from?: number, targets?: readonly Target[] }
  ): Promise<FuzzOutcome> {
    const { connectionString } = await createTestDatabase(t)
    const dir = join(base, name)
    mkdirSync(dir)
    return await runFuzz({
      belongings,
      dir,
      program,
      targets: TARGETS,
      packets: Infinity,
      from: 0,
      rounds: 2,
      databaseUrl: connectionString,
      onProgress: () => {},
      ...how,
      timeMs: how.seconds * 1000
    })
  }

  const seed = Date.now() % 1_000_000
  const options = { ...await parseCommand(createFuzzCommand, ['--seconds', '2']) as FuzzOptions, seed }
  const outcome = await fuzz('slice', { seed, seconds: 2 })
  const report = formatOutcome(options, outcome)
  t.strictSame(outcome.violations, [], report)
  t.ok(outcome.attack.packets > 100 && outcome.good.acknowledged > 50 && outcome.checkpoints.length === 2, report)

  // One planted bug is checked here. The others are checked by hand.
  plantBug(join(base, 'app', 'dist'), BUGS['deep-json'])
  const targets = ['payload'] as const
  let from = 0
  while (!overflows(createSession({ seed, targets }, from))) from++
  const broken = await fuzz('broken', { seed, seconds: 10, packets: 1, from, targets })
  t.match(broken.violations, exactly({ check: 'alive', message: /Maximum call stack size exceeded/ }, { check: 'log' }))
  t.match(formatOutcome({
    ...options, from, targets
  }, broken), new RegExp(`FAILED, seed ${seed}.*--seed ${seed} .*--target payload --from ${from}`, 's'))
})
