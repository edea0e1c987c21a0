import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Store } from '../../../db/store.ts'
import type { ResourceList } from '../../../schemas/vital-data.ts'
import { createDatabaseSwitch } from '../../helpers/database-switch.ts'
import { connectClient, readLedger, startGateway } from '../../helpers/gateway.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'

const post = async (httpUrl: string, readings: unknown) => {
  const headers = { 'content-type': 'application/json' }
  const { status } = await fetch(`${httpUrl}/vital-data`, { method: 'POST', headers, body: JSON.stringify(readings) })
  return status
}

async function list (httpUrl: string, search: string): Promise<string> {
  const { resources } = await (await fetch(`${httpUrl}/vital-data?${search}`)).json() as ResourceList
  return resources.map(({ deviceId }) => deviceId).join(' ')
}

/** Settles when pages come from memory, found by a device inserted by hand, which memory does not know at once. */
async function untilOrdered (t: Test, httpUrl: string, query: (text: string) => Promise<unknown>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    await query(`insert into latest (device, time, oldest_time, vitals, vital_times) values ('~${tries}', now() + interval '2 days', ` +
      'now(), \'{}\', \'{}\')')
    const top = await list(httpUrl, 'count=1&sortBy=timestamp')
    await query(`delete from latest where device = '~${tries}'`)
    if (top !== `~${tries}`) return
    await sleep(50)
  }
  t.fail('pages never came from memory')
}

t.test('a page asked for after the acknowledgement has the reading, over HTTP and MQTT', { timeout: 60_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await post(httpUrl, { device: 'first', timestamp: 1, heartRateValue: 1 })
  await untilOrdered(t, httpUrl, query)
  const client = await connectClient(t, mqttPort)
  for (let n = 2; n < 150; n += 2) {
    t.equal(await post(httpUrl,
      [{ device: `h${n}`, timestamp: n, heartRateValue: n }, { device: 'first', timestamp: n, breathValue: n }]), 202)
    t.equal(await list(httpUrl, 'count=1&sortBy=heartRate'), `h${n}`)
    await client.publishAsync(`vital/m${n}`, JSON.stringify({ timestamp: n + 1, breathRateValue: n + 1 }), { qos: 1 })
    t.equal(await list(httpUrl, 'count=2&sortBy=breathRate'), `m${n} first`)
    t.equal(await list(httpUrl, 'count=2&sortBy=timestamp'), `m${n} first`)
  }
  const devices = ['h148', 'h146', 'h144', 'h142']
  for (const device of devices) t.equal((await fetch(`${httpUrl}/vital-data/${device}`, { method: 'DELETE' })).status, 200)
  t.equal(await list(httpUrl, 'count=1&sortBy=heartRate'), 'h140')
  // Pages find missing rows themselves, but only a bounded number before PostgreSQL sorts.
  await query('insert into latest (device, time, oldest_time, vitals, vital_times) values (\'~\', now(), now(), \'{}\', \'{}\')')
  t.equal(await list(httpUrl, 'count=1&sortBy=timestamp'), 'm148', 'and the page still comes from memory')
})

t.test('a reading replayed from the spool is on the page, also when its COMMIT came after the time-out', { timeout: 60_000 }, async (t) => {
  const database = await createDatabaseSwitch(t)
  let isLate = false
  const wrapStore = (store: Store): Store => ({
    ...store,
    async write (readings, letters) {
      const written = await store.write(readings, letters)
      // The COMMIT is done, but its time-out passes before the answer.
      if (isLate && readings.length > 0) await sleep(1500)
      return written
    }
  })
  const { httpUrl } = await startGateway(t, { DATABASE_URL: database.connectionString, VITAL_COMMIT_TIMEOUT_MS: '1000' }, { wrapStore })
  await post(httpUrl, { device: 'a', timestamp: 1, heartRateValue: 1 })
  await untilOrdered(t, httpUrl, database.query)
  isLate = true
  t.equal(await post(httpUrl, { device: 'late', timestamp: 2, heartRateValue: 2 }), 202)
  isLate = false
  t.equal(await list(httpUrl, 'count=1&sortBy=heartRate'), 'late')
  await database.off()
  t.equal(await post(httpUrl, { device: 'spooled', timestamp: 3, heartRateValue: 3 }), 202)
  await database.on()
  while ((await readLedger(httpUrl)).pending > 0) await sleep(20)
  t.equal(await list(httpUrl, 'count=2&sortBy=heartRate'), 'spooled late')
})
