import { setTimeout as sleep } from 'node:timers/promises'
import type { MqttClient } from 'mqtt'
import pg from 'pg'
import t, { type Test } from 'tap'
import { hashPassword } from '../../src/security/passwords.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { bearer, login, openCredentials, tryConnect } from '../helpers/credentials.ts'
import { until } from '../helpers/until.ts'

/** The documented bound from COMMIT to the end of a connection, with room for a busy machine. */
const EFFECTIVE_MS = 3000
const ROOM_MS = 7000

const closeOf = (client: MqttClient) => new Promise<void>((resolve) => { client.once('close', () => { resolve() }) })

async function inTime (what: string, promise: Promise<unknown>): Promise<void> {
  const timeout = new AbortController()
  try {
    await Promise.race([
      promise, sleep(EFFECTIVE_MS + ROOM_MS, undefined, { signal: timeout.signal }).then(() => { throw new Error(`in time: ${what}`) })
    ])
  } finally {
    timeout.abort()
  }
}

async function openTwo (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const transaction = new pg.Client({ connectionString })
  await transaction.connect()
  t.teardown(() => transaction.end())
  const gateways = async () => [await startGateway(t, { DATABASE_URL: connectionString }), await startGateway(t,
    { DATABASE_URL: connectionString })] as const
  return { connectionString, query, credentials, transaction, gateways }
}

t.test('70,000 principals revoked in a long transaction: connected ones are closed within seconds of COMMIT, on ' +
  'every gateway', async (t) => {
  const { query, credentials, transaction, gateways } = await openTwo(t)
  const secrets = await Promise.all(['one', 'two', 'request', 'bystander'].map(async (id) => [id, await credentials.add(id,
    'device')] as const)).then((pairs) => new Map(pairs))
  await query('insert into principals (id, role) select \'device-\' || n, \'device\' from generate_series(1, 70000) n')
  await query('insert into credentials (principal, kind, secret_sha256) select id, \'secret\', sha256(id::bytea) from principals where ' +
    'id like \'device-%\'')
  const [first, second] = await gateways()
  const clients = await Promise.all([first, second].map(async ({ mqttPort }, index) => {
    const id = index === 0 ? 'one' : 'two'
    return await connectClient(t, mqttPort, login(id, secrets.get(id)!))
  }))
  const bystander = await connectClient(t, first.mqttPort, login('bystander', secrets.get('bystander')!))
  const post = async () => (await fetch(`${second.httpUrl}/vital-data`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json', ...bearer(secrets.get('request')!)
    },
    body: '{"device":"request","timestamp":1}'
  })).status
  t.equal(await post(), 202)

  // The time stamp of a transaction that was open for a minute, during which gateways went on polling.
  await transaction.query('begin')
  await transaction.query('update principals set revoked_at = now(), changed_at = now() - interval \'1 minute\' where id <> \'bystander\'')
  await transaction.query('delete from credentials where principal <> \'bystander\'')
  await sleep(2500)
  t.ok(clients.every(({ connected }) => connected), 'nothing takes effect before COMMIT')
  const closed = clients.map(closeOf)
  await transaction.query('commit')
  await inTime('both are disconnected', Promise.all(closed))
  t.equal(await tryConnect(first.mqttPort, login('two', secrets.get('two')!)), 5)
  await until(async () => await post() === 401, 'the request to be refused')
  t.ok(bystander.connected)
})

t.test('principals that were refused before they were imported are admitted', async (t) => {
  const { credentials, query, transaction, gateways } = await openTwo(t)
  await credentials.add('root', 'admin')
  const [first, second] = await gateways()
  for (const { mqttPort } of [first, second]) t.equal(await tryConnect(mqttPort, login('late', 'a password of ours')), 5)
  await transaction.query('begin')
  await transaction.query('insert into principals (id, role, changed_at) values (\'late\', \'device\', now() - interval \'1 minute\')')
  await transaction.query('insert into credentials (principal, kind, password_argon2id) values (\'late\', \'password\', $1)',
    [await hashPassword('a password of ours')])
  await transaction.query('commit')
  for (const { mqttPort } of [first, second]) {
    await until(async () => await tryConnect(mqttPort, login('late', 'a password of ours')) === 0,
      'late to be let in')
  }
  t.equal((await query('select 1 from principals')).length, 2)
})

t.test('rotation with overlap: a connection stays until the secret that it used ends', async (t) => {
  const { credentials, query, gateways } = await openTwo(t)
  const old = await credentials.add('band', 'device')
  const [{ mqttPort }] = await gateways()
  const device = await connectClient(t, mqttPort, login('band', old))
  await credentials.rotate('band', 3600)
  await sleep(2500)
  t.ok(device.connected, 'README: the old secret is good for another hour')
  const closed = closeOf(device)
  await query('update credentials set expires_at = now() + interval \'2 seconds\' where expires_at is not null')
  await inTime('it ends with its secret', closed)
})

t.test('with two passwords that end at different times, a connection ends with the one that it used', async (t) => {
  const { credentials, query, gateways } = await openTwo(t)
  await credentials.addWithPassword('ann', 'operator', 'the first password')
  await query('update credentials set expires_at = now() + interval \'4 seconds\'')
  await query('insert into credentials (principal, kind, password_argon2id) values (\'ann\', \'password\', $1)',
    [await hashPassword('the second password')])
  const [{ mqttPort }] = await gateways()
  const lasting = await connectClient(t, mqttPort, login('ann', 'the second password', 'desk'))
  const ending = await connectClient(t, mqttPort, login('ann', 'the first password', 'laptop'))
  await inTime('the first ends', closeOf(ending))
  await sleep(1500)
  t.ok(lasting.connected)
})

t.test('a principal that is deleted by hand is disconnected, and so are all when all are deleted', async (t) => {
  const { credentials, query, gateways } = await openTwo(t)
  const clients: MqttClient[] = []
  const secrets = [await credentials.add('one', 'device'), await credentials.add('two', 'device')]
  const [{ mqttPort }] = await gateways()
  for (const [index, id] of ['one', 'two'].entries()) clients.push(await connectClient(t, mqttPort, login(id, secrets[index]!)))
  const [one, two] = clients.map(closeOf)
  await query('delete from principals where id = \'one\'')
  await inTime('one is disconnected', one!)
  t.ok(clients[1]!.connected)
  await query('truncate principals cascade')
  await inTime('two is disconnected', two!)
})
