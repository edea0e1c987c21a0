import t from 'tap'
import { simulate, type SimulationOptions } from './simulation.ts'

const FIRST_SEED = Number(process.env['SIM_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const RUNS = Number(process.env['SIM_RUNS'] ?? 20)
/** About one schedule in six reveals a lying disk. */
const CONTROL_RUNS = 100

async function simulateMany (runs: number, options: Omit<SimulationOptions, 'seed'>) {
  const total = { messages: 0, acknowledged: 0, rows: 0, letters: 0, replayed: 0, refused: 0 }
  for (let run = 0; run < runs; run++) {
    const result = await simulate({ seed: FIRST_SEED + run, ...options })
    for (const key of Object.keys(total) as Array<keyof typeof total>) total[key] += result[key]
  }
  return total
}

t.setTimeout(3_600_000)
t.comment(`first seed ${FIRST_SEED}: SIM_SEED=${FIRST_SEED} SIM_RUNS=${RUNS} runs the same again`)

t.test('outages, bad disks, poison and crashes together lose nothing acknowledged, and the ledger balances', async (t) => {
  const { acknowledged, rows, letters, replayed, refused } = await simulateMany(RUNS, {})
  t.comment(`${acknowledged} messages acknowledged, ${rows} rows, ${letters} dead letters, ${replayed} replayed, ${refused} refused`)
  // A schedule in which nothing happens proves nothing.
  for (const count of [acknowledged, rows, letters, replayed, refused]) t.ok(count > RUNS, `${count}`)
})

t.test('with flipped bits on the disk the ledger still balances, and nothing appears that was not sent', async (t) => {
  const { acknowledged } = await simulateMany(RUNS, { flipsMax: 3 })
  t.ok(acknowledged > RUNS)
})

/** Each defect loses acknowledged readings, and some seed must find it. */
const CONTROLS = {
  'the store settles before its COMMIT': { isAckEarly: true },
  'fdatasync is a no-op': { lie: 'sync is a no-op' },
  'fsync of a directory is a no-op': { lie: 'directory sync is a no-op' }
} as const

for (const [name, options] of Object.entries(CONTROLS)) {
  t.test(`control: the checker notices when ${name}`, async (t) => {
    await t.rejects(simulateMany(CONTROL_RUNS, options), /seed \d+: lost: \d+ was acknowledged/)
  })
}
