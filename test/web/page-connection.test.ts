/** The live page in a real Chromium, while PostgreSQL, the gateway or its own connection fail and return. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import t from 'tap'
import type { Store } from '../../db/store.ts'
import { buildPage, openPage, skip } from '../helpers/browser.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { connectClient, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { publishAs, toReading } from '../helpers/readings.ts'
import { until } from '../helpers/until.ts'

t.setTimeout(240_000)

/** Shared by tests that change only their own devices. */
let gateway: TestGateway

t.before(async () => {
  if (skip !== false) return
  await buildPage()
  gateway = await startGateway(t)
})

/** The WebSockets that the page opens from now on, and the bytes that it sends. */
function watchSockets (page: Page) {
  const seen = { opened: 0, closed: 0, pings: 0 }
  page.on('websocket', (socket) => {
    seen.opened++
    socket.on('close', () => { seen.closed++ })
    // PINGREQ, MQTT 3.1.1 §3.12.
    socket.on('framesent', ({ payload }) => { if (payload[0] === 0xc0) seen.pings++ })
  })
  return seen
}

t.test('an outage of PostgreSQL and the replay of the spool are shown as they happen', { skip }, async (t) => {
  const database = await createDatabaseSwitch(t)
  let replay = Promise.resolve()
  let isReplayed = () => {}
  const wrapStore = (store: Store): Store => ({
    ...store,
    async write (...batch) {
      await replay
      return await store.write(...batch)
    }
  })
  const { httpUrl, mqttPort } = await startGateway(t,
    { DATABASE_URL: database.connectionString, VITAL_COMMIT_TIMEOUT_MS: '1000' }, { wrapStore })
  const device = await connectClient(t, mqttPort)
  await publishAs(device, 'ward-3', toReading(Date.now() / 1000, 60))
  const page = await openPage(t, httpUrl, { path: '/#/gateway' })
  const sentence = page.locator('.sentence')
  await sentence.getByText(/^Storing in PostgreSQL/).waitFor()
  const readChanges = async (since = '') => await (await fetch(`${httpUrl}/app/changes.json${since}`)).json() as {
    position: string, devices: Array<[id: string, firstS: number, lastS: number, count: number, values: unknown[]]>
  }
  const { position } = await readChanges()
  await database.off()
  for (let at = 1; at <= 5; at++) await publishAs(device, 'ward-3', toReading(Date.now() / 1000 + at / 100, 60 + at))
  await sentence.getByText(/^Spooling to disk since .* 5 readings wait/).waitFor()
  await page.getByText('Does not answer since').waitFor()
  // Devices whose readings are spooled do not count as silent.
  let values: unknown[] = []
  await until(async () => {
    const { devices } = await readChanges(`?since=${position}`)
    values = devices.at(-1)?.[4] ?? []
    return devices.reduce((sum, [, , , count]) => sum + count, 0) === 5
  })
  t.equal(values[0], 65, 'the newest heart rate')
  await page.getByText('PostgreSQL does not take readings; they go to the spool.').waitFor()
  replay = new Promise((resolve) => { isReplayed = resolve })
  await database.on()
  await sentence.getByText('Replaying', { exact: true }).waitFor()
  isReplayed()
  await sentence.getByText(/^Storing in PostgreSQL/).waitFor()
  await page.getByText('Takes readings.').waitFor()
  await page.locator('.flow').getByText('6', { exact: true }).nth(1).waitFor()
  await page.getByText('It balances').waitFor()
})

t.test('a gateway that accepts the status request and does not answer is not shown as storing', { skip }, async (t) => {
  const { httpUrl } = await startGateway(t)
  const page = await openPage(t, httpUrl)
  await page.getByText(/^Storing in PostgreSQL/).waitFor()
  await page.route('**/app/status.json', () => { /* A frozen process. */ })
  await page.getByText(/^The gateway has not answered since/).waitFor()
  await page.unroute('**/app/status.json')
  await page.getByText(/^Storing in PostgreSQL/).waitFor()
})

t.test('a restart of the gateway needs no reload, and missed readings are on the chart', { skip }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const first = await startGateway(t, { DATABASE_URL: connectionString })
  const before = await connectClient(t, first.mqttPort)
  await publishAs(before, 'ward-3', toReading(Date.now() / 1000, 60))
  const page = await openPage(t, first.httpUrl, { path: '/#/device/ward-3' })
  const chart = page.getByRole('region', { name: 'Heart rate' })
  await chart.getByText('60', { exact: true }).waitFor()
  await page.evaluate('window.isSamePage = true')
  await first.stop()
  await page.getByText(/^The gateway has not answered since/).waitFor()
  const ports = { VITAL_HTTP_PORT: String(first.httpPort), VITAL_MQTT_PORT: String(first.mqttPort) }
  const second = await startGateway(t, { DATABASE_URL: connectionString, ...ports })
  const after = await connectClient(t, second.mqttPort)
  await publishAs(after, 'ward-3', toReading(Date.now() / 1000, 88))
  await page.getByText(/^Storing in PostgreSQL/).waitFor()
  await chart.getByText('88', { exact: true }).waitFor()
  t.equal(await page.evaluate('window.isSamePage'), true)
})

const readMetric = async (httpUrl: string, name: string): Promise<number> => {
  const text = await (await fetch(`${httpUrl}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

t.test('a duplicated tab is a second client, and neither disconnects the other', { skip }, async (t) => {
  const { httpUrl, mqttPort } = gateway
  const device = await connectClient(t, mqttPort)
  await publishAs(device, 'ward-6', toReading(Date.now() / 1000, 60))
  const page = await openPage(t, httpUrl)
  await page.getByRole('row', { name: 'ward-6' }).waitFor()
  const clients = await readMetric(httpUrl, 'vital_mqtt_clients')
  // A window opened in this way gets a copy of sessionStorage, like a duplicated tab.
  const [copy] = await Promise.all([page.context().waitForEvent('page'), page.evaluate("window.open('/')")])
  await copy.getByRole('row', { name: 'ward-6' }).waitFor()
  await until(async () => await readMetric(httpUrl, 'vital_mqtt_clients') === clients + 1)
  await publishAs(device, 'ward-6', toReading(Date.now() / 1000, 61))
  for (const tab of [page, copy]) await tab.getByRole('row', { name: 'ward-6' }).getByText('61', { exact: true }).waitFor()
  t.equal(await readMetric(httpUrl, 'vital_mqtt_clients'), clients + 1)
  t.equal(await readMetric(httpUrl, 'vital_mqtt_takeovers_total'), 0)
})

t.test('ten quiet minutes: pings, no violation, no reconnect; hidden for 30 s: disconnected; shown ' +
  'again: connected', { skip }, async (t) => {
  const { httpUrl, mqttPort } = gateway
  const device = await connectClient(t, mqttPort)
  await publishAs(device, 'ward-7', toReading(Date.now() / 1000, 60))
  let sockets = { opened: 0, closed: 0, pings: 0 }
  const page = await openPage(t, httpUrl, {
    async before (page) {
      sockets = watchSockets(page)
      await page.clock.install()
    }
  })
  await page.getByRole('row', { name: 'ward-7' }).waitFor()
  for (let elapsedS = 0; elapsedS < 600; elapsedS += 30) {
    await page.clock.fastForward(30_000)
    // The answer to a ping takes some real time.
    await sleep(100)
  }
  t.match(sockets, { opened: 1, closed: 0 })
  t.ok(sockets.pings >= 9, `${sockets.pings} pings`)

  const setHidden = (isHidden: boolean) => page.evaluate(`{
    Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }`)
  await setHidden(true)
  await page.clock.fastForward(29_000)
  t.equal(sockets.closed, 0)
  await page.clock.fastForward(2000)
  await until(() => sockets.closed === 1)
  await setHidden(false)
  await until(() => sockets.opened === 2)
  await page.clock.resume()
  await publishAs(device, 'ward-7', toReading(Date.now() / 1000, 77))
  await page.getByRole('row', { name: 'ward-7' }).getByText('77', { exact: true }).waitFor()
})
