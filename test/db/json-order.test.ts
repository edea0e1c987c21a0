import t from 'tap'
import { compareJson } from '../../db/json-order.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'

const SCALARS: readonly unknown[] = [
  null, true, false, 0, 1, -1, 61, 99, 100, 1e21, -1e21, 1.5e-7, 123456789012345680000, 1.7976931348623157e308, 5e-324, 0.1, '', 'a', 'ab',
  'a!', 'B', 'b', 'é', '￿', '😀', '"', '\\', '\u001f', '\n', '10', '9'
]

t.test('the order of JSON values is the same here and in PostgreSQL', async (t) => {
  const { query } = await createTestDatabase(t)
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9)
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  const pick = <T>(values: readonly T[]) => values[Math.floor(random() * values.length)] as T
  const make = (depth: number): unknown => {
    const kind = depth > 2 ? 0 : random()
    if (kind < 0.3) return pick(SCALARS)
    if (kind < 0.5) return (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20)
    if (kind < 0.75) return Array.from({ length: Math.floor(random() * 3) }, () => make(depth + 1))
    return Object.fromEntries(Array.from({ length: Math.floor(random() * 3) }, () => [pick(['a', 'b', 'aa', 'é', '']), make(depth + 1)]))
  }
  const values = [...SCALARS, [], {}, ...Array.from({ length: 150 }, () => make(0))]
  const pairs = Array.from({ length: 4000 }, () => [pick(values), pick(values)] as const)
  for (const a of SCALARS) for (const b of SCALARS) pairs.push([a, b])
  const rows = await query<{ larger: boolean, equal: boolean }>(
    'select vital_is_larger(a::jsonb, b::jsonb) as larger, a::jsonb = b::jsonb as equal from unnest($1::text[], $2::text[]) with ' +
      'ordinality as p (a, b, at) order by at',
    [pairs.map(([a]) => JSON.stringify(a)), pairs.map(([, b]) => JSON.stringify(b))])
  const wrong = pairs.filter(([a, b], index) => {
    const { larger, equal } = rows[index]!
    return larger !== (compareJson(a, b) > 0) || equal !== (compareJson(a, b) === 0) ||
      Math.sign(compareJson(a, b)) !== -Math.sign(compareJson(b, a))
  })
  t.same(wrong.slice(0, 5).map((pair) => JSON.stringify(pair)), [])
  const sorted = values.toSorted(compareJson)
  t.ok(sorted.every((value, index) => index === 0 || sorted.slice(0, index).every((before) => compareJson(before, value) <= 0)),
    'it is transitive')
})
