/** Requests and their answers, by a client of the proto file, on a whole gateway. */
import t from 'tap'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { openGrpcClient } from '../helpers/grpc.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

const DEVICE = 'ward-3'

async function start (t: Parameters<typeof startGateway>[0], variables: Record<string, string> = {}) {
  const database = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: database.connectionString, VITAL_GRPC_PORT: '0', ...variables })
  return { ...gateway, query: database.query, client: openGrpcClient(t, gateway.grpcPort!) }
}

t.test('a request is answered once it is stored, by its number', async (t) => {
  const { client, query, httpUrl } = await start(t)
  const { write, answerTo, stream, ended } = client.open()
  write({
    number: '18446744073709551615',
    readings: [
      { device: DEVICE, timestamp: 1750240830.25, heartRateValue: 61.5, spo2Value: 97 },
      { device: 'ward-4', timestamp: 1750240831, other: Buffer.from('{"note":{"b":1,"a":[true,null]},"serial":123456789012345}') }
    ]
  })
  t.match(await answerTo('18446744073709551615'), { outcome: 'STORED', code: '', message: '', details: exactly() })
  t.strictSame(await query('select device, vitals from readings order by device'), [
    { device: DEVICE, vitals: { heartRateValue: 61.5, spo2Value: 97 } },
    { device: 'ward-4', vitals: { note: { a: [true, null], b: 1 }, serial: 123456789012345 } }
  ])
  write({ number: 2, readings: [{ device: DEVICE, timestamp: 1750240830.25, heartRateValue: 61.5, spo2Value: 97 }] })
  t.match(await answerTo(2), { outcome: 'DUPLICATE', code: '' })
  stream.end()
  t.equal((await ended()).code, 0)
  const ledger = await readLedger(httpUrl)
  t.match(ledger, { received: 3, stored: 2, duplicate: 1, balance: 0 })
  const text = await (await fetch(`${httpUrl}/metrics`)).text()
  t.match(text, /vital_readings_stored_total\{transport="grpc"\} 2/)
  t.match(text, /vital_grpc_streams 0/)
})

t.test('Send answers one request', async (t) => {
  const { client } = await start(t)
  t.match(await client.send([{ device: DEVICE, timestamp: 1750240830 }], 7), { number: '7', outcome: 'STORED' })
  t.match(await client.send([{ device: DEVICE, timestamp: 1750240830 }]), { number: '0', outcome: 'DUPLICATE' })
  t.match(await client.send([]), {
    outcome: 'REJECTED',
    code: 'VITAL_INVALID_READING',
    details: exactly({ path: '', message: 'must be an array of 1 to 1000 readings, not 0' })
  })
})

t.test('a reading over gRPC and MQTT is one reading', async (t) => {
  const { client, mqttPort, query } = await start(t)
  const mqtt = await connectClient(t, mqttPort)
  const publish = (payload: string) => mqtt.publishAsync(`vital/${DEVICE}`, payload, { qos: 1 })
  await publish('{"timestamp":1735689600.123456,"spo2Value":97}')
  await publish('{"timestamp":1735689601,"spo2Value":97.0,"a":{"b":[1e2]}}')
  await publish('{"timestamp":1735689602,"temperatureValue":36.6}')
  for (const reading of [
    { timestamp: 1735689600.123456, spo2Value: 97 },
    { timestamp: 1735689600.1234562, other: Buffer.from('{ "spo2Value" : 9.7e1 }') },
    { timestamp: 1735689601, spo2Value: 97, other: Buffer.from('{"a":{"b":[100]}}') },
    { timestamp: 1735689602, temperatureValue: 36.6 }
  ]) t.equal((await client.send([{ device: DEVICE, ...reading }])).outcome, 'DUPLICATE', JSON.stringify(reading))
  t.equal((await query('select from readings')).length, 3)
})

t.test('subscribers get readings that are stored over gRPC', async (t) => {
  const { client, mqttPort } = await start(t)
  const mqtt = await connectClient(t, mqttPort)
  await mqtt.subscribeAsync('vital/#')
  const seen: string[] = []
  mqtt.on('message', (topic, payload) => { seen.push(`${topic} ${payload.toString()}`) })
  await client.send([{ device: 'a', timestamp: 1735689600.5, spo2Value: 97 }])
  await client.send([
    { device: 'a', timestamp: 1735689601, spo2Value: 97 }, { device: 'b', timestamp: 1735689601, other: Buffer.from('{"x":"y"}') }
  ])
  while (seen.length < 3) await new Promise((resolve) => { setTimeout(resolve, 5) })
  t.strictSame(seen, [
    'vital/a {"device":"a","timestamp":1735689600.5,"spo2Value":97}',
    'vital/a [{"device":"a","timestamp":1735689601,"spo2Value":97}]',
    'vital/b [{"device":"b","timestamp":1735689601,"x":"y"}]'
  ])
})
