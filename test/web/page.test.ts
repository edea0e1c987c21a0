/** The live page in a real Chromium, as `npm run build` made it; skipped where there is none. */
import { setTimeout as sleep } from 'node:timers/promises'
import axe from 'axe-core'
import type { MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { Store } from '../../db/store.ts'
import { buildPage, openPage, skip } from '../helpers/browser.ts'
import { openCredentials } from '../helpers/credentials.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { connectClient, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

t.setTimeout(240_000)

/** For tests that change nothing but devices of their own. */
let gateway: TestGateway

t.before(async () => {
  buildPage()
  if (skip === false) gateway = await startGateway(t)
})

const toReading = (timestamp: number, heartRateValue: unknown) => ({ timestamp, heartRateValue })

const publishAs = (client: MqttClient, device: string, ...readings: object[]) =>
  client.publishAsync(`vital/${device}`, JSON.stringify(readings.length === 1 ? readings[0] : readings), { qos: 1 })

/** The page's own WebSockets from now on, and the bytes that it sends. */
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

/** Serious and critical findings of axe. */
async function findFaults (page: Page): Promise<string[]> {
  // By the debugger, which the policy does not bind.
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate('axe.run({ resultTypes: ["violations"] })') as {
    violations: ReadonlyArray<{ id: string, impact: string, nodes: ReadonlyArray<{ html: string }> }>
  }
  return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)
}

t.test('a device that publishes appears, moves and opens; a refusal is a badge with its reason', { skip }, async (t) => {
  const { httpUrl, mqttPort } = gateway
  const page = await openPage(t, httpUrl)
  await page.getByText('No reading has arrived yet').waitFor()
  t.same(await findFaults(page), [], 'an empty gateway')
  const device = await connectClient(t, mqttPort)
  const publish = (heartRate: unknown) =>
    device.publishAsync('vital/ward-3', JSON.stringify(toReading(Date.now() / 1000, heartRate)), { qos: 1 })
  await publish(61)
  const row = page.getByRole('row', { name: 'ward-3' })
  await row.getByText('61', { exact: true }).waitFor()
  await publish(72)
  await row.getByText('72', { exact: true }).waitFor()
  await publish('high')
  await row.getByText('Refused').waitFor()
  await page.getByText(/^Storing in PostgreSQL/).waitFor()
  await row.click()
  await page.getByRole('heading', { name: 'ward-3' }).waitFor()
  await page.getByText('/heartRateValue must be a finite number').waitFor()
  await page.getByRole('button', { name: 'Show payload' }).click()
  await page.getByText('"heartRateValue":"high"').waitFor()
  t.equal(await page.evaluate('localStorage.length'), 0)
})

t.test('the heart rate of yesterday at noon, live readings joined to history, and the way back', { skip }, async (t) => {
  const { httpUrl, mqttPort } = gateway
  const device = await connectClient(t, mqttPort)
  const publish = (...readings: object[]) => publishAs(device, 'ward-4', ...readings)
  const nowS = Date.now() / 1000
  const dayBefore = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)
  const noonS = Date.parse(`${dayBefore}T11:00:00Z`) / 1000
  await publish(...Array.from({ length: 100 }, (_, index) => toReading(noonS - 500 + index * 10, index === 50 ? 83 : 64)))
  await publish(...Array.from({ length: 60 }, (_, index) => toReading(nowS - 60 + index, 70)))
  // Noon in Kolkata is not noon in UTC: a time is asked for in the browser's zone.
  const page = await openPage(t, httpUrl, { path: '/#/device/ward-4', timezoneId: 'Asia/Kolkata' })
  const chart = page.getByRole('region', { name: 'Heart rate' })
  await chart.getByText('70', { exact: true }).waitFor()
  await publish(toReading(Date.now() / 1000, 91))
  await chart.getByText('91', { exact: true }).waitFor()

  await page.getByLabel('Go to').fill(`${dayBefore}T16:30`)
  await chart.getByText('83', { exact: true }).waitFor()
  await page.getByText(/16:30:00 (?:GMT\+5:30|IST)$/).waitFor()
  await page.getByRole('group', { name: /^Charts/ }).press('ArrowLeft')
  await chart.getByText('64', { exact: true }).waitFor()
  t.match(page.url(), /#\/device\/ward-4\?span=3600&at=\d+$/)
  await page.reload()
  await chart.getByText('83', { exact: true }).waitFor()

  await page.getByRole('button', { name: 'Live' }).click()
  await page.getByRole('button', { name: '24 h' }).click()
  await page.getByText('Averages of 5 minutes').waitFor()
  await page.getByRole('group', { name: /^Charts/ }).press('Escape')
  await chart.getByText('91', { exact: true }).waitFor()
})

t.test('a login and limits: the secret stays in the tab, other roles are refused, a revoked one is out', { skip }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const [operator, band] = [await credentials.add('otto', 'operator'), await credentials.add('band-1', 'device')]
  const { httpUrl, mqttPort } = await startGateway(t,
    { DATABASE_URL: connectionString, VITAL_LIMITS: '{"band-":{"heartRateValue":[50,120]},"band-2":{}}' })
  const page = await openPage(t, httpUrl)
  const urls: string[] = []
  page.on('request', (request) => { urls.push(request.url()) })
  const logIn = async (secret: string) => {
    await page.getByLabel('Secret or token').fill(secret)
    await page.getByRole('button', { name: 'Log in' }).click()
  }
  t.same(await findFaults(page), [], 'the login')
  await logIn('wrong')
  await page.getByRole('alert').getByText('This secret is not valid.').waitFor()
  await logIn(band)
  await page.getByRole('alert').getByText('operator or an administrator').waitFor()
  await logIn(operator)
  await page.getByText('No reading has arrived yet').waitFor()
  const device = await connectClient(t, mqttPort, { clientId: 'band-1', username: 'band-1', password: band })
  await publishAs(device, 'band-1', toReading(Date.now() / 1000, 64))
  await page.getByRole('row', { name: 'band-1' }).getByText('64', { exact: true }).waitFor()
  await page.reload()
  const row = page.getByRole('row', { name: 'band-1' })
  await row.getByText('64', { exact: true }).waitFor()
  t.equal(await row.getByText('Out of range').count(), 0)
  await publishAs(device, 'band-1', toReading(Date.now() / 1000, 121))
  await row.getByText('Out of range').waitFor()
  await page.getByRole('button', { name: 'Out of range 1' }).waitFor()
  t.notOk([...urls, page.url()].some((url) => url.includes(operator)), 'no URL has the secret')
  t.equal(await page.evaluate('localStorage.length + document.cookie.length'), 0)
  await credentials.revoke('otto')
  await page.getByText('The credential is no longer valid.').waitFor()
  t.equal(await page.evaluate('sessionStorage.length'), 0)
})

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
  await database.off()
  for (let at = 1; at <= 5; at++) await publishAs(device, 'ward-3', toReading(Date.now() / 1000 + at / 100, 60 + at))
  await sentence.getByText(/^Spooling to disk since .* 5 readings wait/).waitFor()
  await page.getByText('Does not answer since').waitFor()
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

t.test('a restart of the gateway needs no reload, and what was missed is on the chart', { skip }, async (t) => {
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

t.test('a duplicated tab is a second client, and neither throws the other out', { skip }, async (t) => {
  const { httpUrl } = gateway
  const page = await openPage(t, httpUrl)
  await page.getByRole('row', { name: 'ward-3' }).waitFor()
  const clients = await readMetric(httpUrl, 'vital_mqtt_clients')
  // Such a window gets a copy of sessionStorage, as a duplicated tab does.
  const [copy] = await Promise.all([page.context().waitForEvent('page'), page.evaluate("window.open('/')")])
  await copy.getByRole('row', { name: 'ward-3' }).waitFor()
  await until(async () => await readMetric(httpUrl, 'vital_mqtt_clients') === clients + 1)
  await sleep(3000)
  t.equal(await readMetric(httpUrl, 'vital_mqtt_clients'), clients + 1)
  t.equal(await readMetric(httpUrl, 'vital_mqtt_takeovers_total'), 0)
})

/** Lets the browser's clock be wrong. */
const shiftClock = (page: Page, offsetMs: number) => page.addInitScript(`{
  const Right = Date
  globalThis.Date = class extends Right {
    constructor (...given) { given.length === 0 ? super(Right.now() + ${offsetMs}) : super(...given) }
    static now () { return Right.now() + ${offsetMs} }
  }
}`)

t.test('whatever the browser takes the time for: the same ages, the same silent device, greyed and with its age', { skip }, async (t) => {
  const { httpUrl, mqttPort } = gateway
  const device = await connectClient(t, mqttPort)
  const nowS = Date.now() / 1000
  await publishAs(device, 'resting', ...Array.from({ length: 30 }, (_, index) => toReading(nowS - 630 + index, 66)))
  await publishAs(device, 'lively', toReading(nowS, 71))
  for (const offsetMs of [-600_000, 600_000]) {
    const page = await openPage(t, httpUrl, { before: (page) => shiftClock(page, offsetMs) })
    const [silent, lively] = [page.getByRole('row', { name: 'resting' }), page.getByRole('row', { name: 'lively' })]
    await silent.getByText('Silent').waitFor()
    await silent.getByText('10 min', { exact: true }).waitFor()
    await publishAs(device, 'lively', toReading(Date.now() / 1000, 72))
    await lively.getByText('72', { exact: true }).waitFor()
    await lively.getByText(/^\d s$/).waitFor()
    t.equal(await lively.getByText('Silent').count(), 0)
    await silent.click()
    const chart = page.getByRole('region', { name: 'Heart rate' })
    await chart.locator('.number.stale').getByText('66').waitFor()
    await chart.getByText(/, 10 min ago$/).waitFor()
    await chart.getByText('No readings in this time.').waitFor()
  }
})

t.test('quiet for ten minutes: pings, no violation, no reconnect; hidden for 30 s: gone, shown: back', { skip }, async (t) => {
  const { httpUrl, mqttPort } = await startGateway(t)
  const device = await connectClient(t, mqttPort)
  await publishAs(device, 'ward-3', toReading(Date.now() / 1000, 60))
  let sockets = { opened: 0, closed: 0, pings: 0 }
  const page = await openPage(t, httpUrl, {
    async before (page) {
      sockets = watchSockets(page)
      await page.clock.install()
    }
  })
  await page.getByRole('row', { name: 'ward-3' }).waitFor()
  for (let elapsedS = 0; elapsedS < 600; elapsedS += 30) {
    await page.clock.runFor(30_000)
    // The answer to a ping needs some of the real time.
    await sleep(100)
  }
  t.match(sockets, { opened: 1, closed: 0 })
  t.ok(sockets.pings >= 9, `${sockets.pings} pings`)

  const setHidden = (isHidden: boolean) => page.evaluate(`{
    Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }`)
  await setHidden(true)
  await page.clock.runFor(29_000)
  t.equal(sockets.closed, 0)
  await page.clock.runFor(2000)
  await until(() => sockets.closed === 1)
  await setHidden(false)
  await until(() => sockets.opened === 2)
  await page.clock.resume()
  await publishAs(device, 'ward-3', toReading(Date.now() / 1000, 77))
  await page.getByRole('row', { name: 'ward-3' }).getByText('77', { exact: true }).waitFor()
})

t.test('the order stands still under the pointer, and a sparkline begins with the history', { skip }, async (t) => {
  const { httpUrl, mqttPort } = gateway
  const device = await connectClient(t, mqttPort)
  const nowS = Date.now() / 1000
  for (const [index, id] of ['row-a', 'row-b', 'row-c'].entries()) {
    await publishAs(device, id, ...Array.from({ length: 60 }, (_, at) => toReading(nowS - 240 + at * 4, 60 + index * 10)))
  }
  const page = await openPage(t, httpUrl)
  await page.getByLabel('Search devices').fill('row-')
  const first = page.locator('tbody tr[aria-rowindex="2"] a')
  await until(async () => ((await page.locator('tr .spark path').first().getAttribute('d'))?.match(/L/g)?.length ?? 0) > 30,
    'more points than came since the page was opened')
  await page.getByRole('button', { name: /^HR/ }).click()
  t.equal(await first.textContent(), 'row-a')
  await page.locator('tbody tr').first().hover()
  await publishAs(device, 'row-a', toReading(Date.now() / 1000, 99))
  await page.getByText('99', { exact: true }).waitFor()
  await sleep(2500)
  t.equal(await first.textContent(), 'row-a')
  await page.mouse.move(5, 5)
  await page.getByRole('heading', { name: 'vital-gateway' }).click()
  await page.evaluate('document.activeElement.blur()')
  await until(async () => await first.textContent() === 'row-b')
})

t.test('axe finds nothing serious, in light and in dark, wide and on a phone', { skip }, async (t: Test) => {
  const { httpUrl, mqttPort } = gateway
  const views = [['#/', 'ward-5'], ['#/device/ward-5', 'Last payload'], ['#/gateway', 'Durability now']] as const
  const look = async (page: Page, name: string) => { t.same(await findFaults(page), [], name) }
  const device = await connectClient(t, mqttPort)
  await publishAs(device, 'ward-5', { timestamp: Date.now() / 1000 - 600, heartRateValue: 60, spo2Value: 97, temperatureValue: 36.6 })
  await publishAs(device, 'ward-5', toReading(Date.now() / 1000, 'high'))
  for (const [colorScheme, width] of [['light', 1280], ['dark', 390]] as const) {
    const page = await openPage(t, httpUrl, { colorScheme, viewport: { width, height: 800 } })
    for (const [path, text] of views) {
      await page.goto(`${httpUrl}/${path}`)
      await page.getByText(text).first().waitFor()
      await look(page, `${path} ${colorScheme}`)
      t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${path} does not scroll sideways`)
    }
  }
})
