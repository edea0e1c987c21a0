import t from 'tap'
import { READINGS_PER_ARRAY_MAX } from '../../schemas/reading.ts'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { openHostile, publishOf, startWellBehaved } from '../helpers/well-behaved.ts'
import { until } from '../helpers/until.ts'

t.test('hostile payloads over MQTT are acknowledged, kept as dead letters, and affect no other client', { timeout: 60_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString })
  const good = await startWellBehaved(t, gateway)
  const { socket, seen } = await openHostile(t, gateway.mqttPort, 'hostile')
  const inReading = (field: string) => `{"timestamp":1750000000,${field}}`
  const deepArray = `${'['.repeat(60_000)}${']'.repeat(60_000)}`
  const deepElement = `${'['.repeat(500)}${']'.repeat(500)}`
  const payloads = {
    'a deep element of an array': `[${deepElement}]`,
    'an element too deep to be parsed': `[${deepArray}]`,
    'deep objects in an array': `[${'{"a":'.repeat(30_000)}1${'}'.repeat(30_000)}]`,
    'a deep field': inReading(`"x":${deepArray}`),
    'too many names': inReading(Array.from({ length: 20_000 }, (_, index) => `"n${index}":1`).join(',')),
    __proto__: inReading('"__proto__":{"isAdmin":true}'),
    'an escaped __proto__, nested': inReading('"x":[{"\\u005f_proto__":{"isAdmin":true}}]'),
    'a number of 200,000 digits': inReading(`"heartRateValue":${'9'.repeat(200_000)}`),
    'a null character': inReading('"x":"\\u0000"'),
    'half a surrogate pair': inReading('"\\ud800":1'),
    'invalid UTF-8': Buffer.from([0x7b, 0x22, 0xc0, 0x80, 0x22, 0x3a, 0x31, 0x7d]),
    'one element too many': `[${Array.from({ length: READINGS_PER_ARRAY_MAX + 1 }, () => '{"timestamp":1}').join(',')}]`,
    'a million brackets that never close': '['.repeat(250_000)
  }
  for (const [index, payload] of Object.values(payloads).entries()) socket.write(publishOf('vital/hostile', payload, index + 1))
  const count = Object.keys(payloads).length
  await until(() => seen.pubacks === count || seen.isClosed, 'the acknowledgements')
  t.strictSame(seen, { pubacks: count, subacks: 0, publishes: 0, isClosed: false })
  const letters = await query<{ payload: Buffer }>('select payload from dead_letters where device = $1', ['hostile'])
  t.equal(letters.length, count)
  for (const refused of [deepElement, `[${deepArray}]`]) {
    t.ok(letters.some(({ payload }) => payload.toString() === refused),
      'a refused payload is kept byte for byte')
  }
  t.equal((Object.prototype as { isAdmin?: boolean }).isAdmin, undefined)

  // As many faults as fit into a packet.
  const faulty = `{${Array.from({ length: 20 }, (_, index) => `"k${index}":1e999`).join(',')}}`
  socket.write(publishOf('vital/hostile', `[${Array(1000).fill(faulty).join(',')}]`, 100))
  await until(() => seen.pubacks === count + 1, 'the acknowledgement')
  const { balance, deadLettered, refused, received } = await readLedger(gateway.httpUrl)
  t.equal(balance, 0)
  t.ok(deadLettered + refused === count + 1000 && received > deadLettered)
  t.ok(await good.end() > 0)
})
