import t from 'tap'
import { simulate, type SimulationOptions } from './simulation.ts'

const FIRST_SEED = Number(process.env['SPOOL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const RUNS = Number(process.env['SPOOL_RUNS'] ?? 25)
/** Most schedules reveal a lying disk. A control ends with the first one that does. */
const CONTROL_RUNS = 200

async function simulateMany (runs: number, options: Omit<SimulationOptions, 'seed'>) {
  const total = { acknowledged: 0, rejected: 0, read: 0, missing: 0, stretches: 0 }
  for (let run = 0; run < runs; run++) {
    const result = await simulate({ seed: FIRST_SEED + run, ...options })
    for (const key of Object.keys(total) as Array<keyof typeof total>) total[key] += result[key]
  }
  return total
}

t.setTimeout(600_000)
t.comment(`first seed ${FIRST_SEED}: SPOOL_SEED=${FIRST_SEED} runs the same again`)

t.test('crashes and power failures lose no acknowledged record', async (t) => {
  const { acknowledged, read } = await simulateMany(RUNS, {})
  t.ok(acknowledged > RUNS && read > RUNS, `${acknowledged} acknowledged, ${read} read`)
})

t.test('failing writes, fsyncs, reads and full disks lose no acknowledged record', async (t) => {
  const { acknowledged, rejected } = await simulateMany(RUNS, { hasFaults: true })
  t.ok(acknowledged > RUNS && rejected > RUNS / 10, `${acknowledged} acknowledged, ${rejected} rejected`)
})

t.test('a flipped bit loses one record at most, and is counted', async (t) => {
  const { missing, stretches } = await simulateMany(RUNS, { flipsMax: 3 })
  t.ok(missing > 0 && stretches >= missing, `${missing} lost in ${stretches} stretches`)
})

t.test('flipped bits and failing operations together', async () => {
  await simulateMany(RUNS, { hasFaults: true, flipsMax: 3 })
})

for (const lie of ['sync is a no-op', 'sync settles before it is done', 'directory sync is a no-op'] as const) {
  t.test(`control: the checker notices when ${lie}`, async (t) => {
    await t.rejects(simulateMany(CONTROL_RUNS, { lie }), /seed \d+: (lost|record \d+ was released)/)
  })
}
