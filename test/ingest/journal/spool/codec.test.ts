import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { DeadLetterRow } from '../../../../db/rows.ts'
import { decode } from '../../../../src/ingest/decode.ts'
import { decodeSubmissions, encodeSubmissions, type SpooledSubmission } from '../../../../src/ingest/journal/spool/codec.ts'
import { Random } from '../../../../scripts/harness/random.ts'

const NOW_MS = 1_750_300_000_000
const SEED = Number(process.env['SPOOL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Names whose sort order is not their enumeration order, that need escapes, or that are special in JavaScript. */
const NAMES = [
  'heartRateValue', 'spo2Value', 'b', 'a', '10', '9', '1', '', 'Zürich', '"quoted"', 'new\nline', '🫀', 'toString', 'length', '\u2028',
  'device2'
]

function randomValue (random: Random, depth: number): unknown {
  switch (random.below(depth > 3 ? 6 : 8)) {
    case 0: return null
    case 1: return random.chance(0.5)
    case 2: return random.pick([0, -0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 123456789012345680000])
    case 3: return (random.next() - 0.5) * 10 ** random.below(30)
    case 4: return random.below(1000)
    case 5: return String.fromCodePoint(...Array.from({ length: random.below(8) },
      () => random.pick([9, 34, 92, 65, 0xe9, 0x2028, 0xfffd, 0x1fac0])))
    case 6: return Array.from({ length: random.below(4) }, () => randomValue(random, depth + 1))
    default: return Object.fromEntries(Array.from({ length: random.below(4) }, () => [random.pick(NAMES), randomValue(random, depth + 1)]))
  }
}

function randomReadings (random: Random, device: string) {
  const elements = Array.from({ length: 1 + random.below(5) }, () => {
    const fields = Array.from({ length: random.below(6) }, () => {
      const name = random.pick(NAMES)
      return [name, name.endsWith('Value') ? random.next() * 100 : randomValue(random, 0)]
    })
    return { ...Object.fromEntries(fields) as Record<string, unknown>, timestamp: random.next() * 1.75e9 }
  })
  const { rows, refused } = decode(Buffer.from(JSON.stringify(elements)), device, NOW_MS + random.below(1000))
  if (refused.length > 0) throw new Error(JSON.stringify(refused[0]?.errors))
  return rows
}

function randomLetter (random: Random): DeadLetterRow {
  return {
    id: randomUUID(),
    receivedAtMs: NOW_MS + random.below(1000),
    transport: random.pick(['mqtt', 'http']),
    topic: random.pick([null, 'vital/a/b', 'vital/\u0000\n\ud800']),
    clientId: random.pick([null, '', 'c-1']),
    device: random.pick([null, 'ward-3']),
    reason: random.pick(['invalid_json', 'invalid_topic']),
    errors: random.pick([[], [{ path: '/0/x', message: 'must be a number' }]]),
    payload: random.bytes(random.pick([0, 1, 500]))
  }
}

function randomSubmissions (random: Random): SpooledSubmission[] {
  return Array.from({ length: random.below(20) }, () => ({
    transport: random.pick(['mqtt', 'http'] as const),
    clientId: random.pick([null, '', 'band-1', 'ünï"\\\n']),
    readings: random.chance(0.8) ? randomReadings(random, random.pick(['band-1', 'Ünï "quoted" \\', '🫀'])) : [],
    letters: Array.from({ length: random.chance(0.2) ? random.below(3) : 0 }, () => randomLetter(random))
  }))
}

/** Submissions as the spool returns them: fields of a reading lack timestamp and device, which have columns of their own. */
const asSpooled = (submissions: readonly SpooledSubmission[]) => submissions.map((submission) => ({
  ...submission,
  readings: submission.readings.map((row) => ({ ...row, fields: JSON.parse(row.vitals) as Record<string, unknown> }))
}))

t.comment(`seed ${SEED}`)

t.test('a decoded batch equals the encoded one, hashes and values included', async (t) => {
  const random = new Random(SEED)
  for (let round = 0; round < 300; round++) {
    const submissions = randomSubmissions(random)
    const { payload, readings } = await encodeSubmissions(submissions)
    t.equal(readings, submissions.reduce((sum, { readings, letters }) => sum + readings.length + letters.length, 0))
    const decoded = await decodeSubmissions(payload)
    if (!t.strictSame(decoded, asSpooled(submissions), `round ${round} of seed ${SEED}`)) break
  }
})

t.test('a large batch is compressed', async (t) => {
  const random = new Random(SEED)
  const submissions = Array.from({ length: 500 }, (_, index) => ({
    transport: 'mqtt' as const, clientId: `band-${index}`, readings: randomReadings(random, `band-${index}`), letters: []
  }))
  const { payload } = await encodeSubmissions(submissions)
  const bytes = submissions.flatMap(({ readings }) => readings).reduce((sum, { vitals }) => sum + vitals.length, 0)
  t.ok(payload.length < bytes, `${payload.length} < ${bytes}`)
  t.strictSame(await decodeSubmissions(payload), asSpooled(submissions))
})

t.test('bytes that hold no batch reject with VITAL_SPOOL_UNDECODABLE and nothing else', async (t) => {
  const random = new Random(SEED)
  const { payload } = await encodeSubmissions(randomSubmissions(random).concat({
    transport: 'mqtt', clientId: 'c', readings: randomReadings(random, 'band-1'), letters: [randomLetter(random)]
  }))
  const small = (await encodeSubmissions([{
    transport: 'http', clientId: null, readings: randomReadings(random, 'a'), letters: [randomLetter(random)]
  }])).payload
  let refused = 0
  for (let round = 0; round < 2000; round++) {
    const damaged = Buffer.from(random.pick([payload, small]))
    if (random.chance(0.3)) damaged.fill(random.below(256), random.below(damaged.length))
    else damaged[random.below(damaged.length)]! ^= 1 << random.below(8)
    const bytes = random.chance(0.2) ? damaged.subarray(0, random.below(damaged.length)) : damaged
    try {
      await decodeSubmissions(bytes)
    } catch (error) {
      refused++
      if ((error as { code?: string }).code !== 'VITAL_SPOOL_UNDECODABLE') throw new Error(`seed ${SEED}, round ${round}`, { cause: error })
    }
  }
  t.ok(refused > 500, `${refused} of 2000`)
  const newer = Buffer.from(payload)
  newer[0] = 2
  await t.rejects(decodeSubmissions(newer), { code: 'VITAL_SPOOL_UNDECODABLE', message: /version 2/ })
})
