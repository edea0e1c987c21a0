/** The table of devices of the live page in a real Chromium, skipped without one. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import t from 'tap'
import { findFaults } from '../helpers/accessibility.ts'
import { buildPage, openPage, skip } from '../helpers/browser.ts'
import { connectClient, startGateway, type TestGateway } from '../helpers/gateway.ts'
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

  const levels: number[] = []
  const later = await openPage(t, httpUrl, {
    path: '/?mqtt=5',
    async before (page) {
      // In CONNECT the protocol level follows the protocol name, MQTT 5 §3.1.2.2.
      page.on('websocket', (socket) => {
        socket.on('framesent', ({ payload }) => {
          if (payload[0] === 0x10) levels.push(payload[String(payload).indexOf('MQTT') + 4] as number)
        })
      })
    }
  })
  await later.getByRole('row', { name: 'ward-3' }).getByText('Refused').waitFor()
  await until(() => levels.length > 0)
  t.same(levels, [5])
  await publish(74)
  await later.getByRole('row', { name: 'ward-3' }).getByText('74', { exact: true }).waitFor()
})

t.test('over MQTT 5 the page says why a subscription is refused', { skip }, async (t) => {
  const { httpUrl, mqttPort } = await startGateway(t, { VITAL_MQTT_DENIED_FILTERS: 'vital/ward-3' })
  await publishAs(await connectClient(t, mqttPort), 'ward-3', toReading(Date.now() / 1000, 61))
  const page = await openPage(t, httpUrl, { path: '/?mqtt=5' })
  await page.getByText(/^Live readings do not come: the gateway refuses the subscription: \w/).waitFor()
  await page.getByRole('row', { name: 'ward-3' }).getByText('61', { exact: true }).waitFor()
})

/** Makes the clock of the browser wrong. */
const shiftClock = (page: Page, offsetMs: number) => page.addInitScript(`{
  const Right = Date
  globalThis.Date = class extends Right {
    constructor (...given) { given.length === 0 ? super(Right.now() + ${offsetMs}) : super(...given) }
    static now () { return Right.now() + ${offsetMs} }
  }
}`)

t.test('with any clock of the browser the page shows the same ages, and the same silent device in grey ' +
  'with its age', { skip }, async (t) => {
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

t.test('the order does not change under the pointer, and a sparkline begins with the history', { skip }, async (t) => {
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
    'more points than readings since the page was opened')
  await page.getByRole('button', { name: /^HR/ }).click()
  t.equal(await first.textContent(), 'row-a')
  await page.locator('tbody tr').first().hover()
  await publishAs(device, 'row-a', toReading(Date.now() / 1000, 99))
  await page.getByText('99', { exact: true }).waitFor()
  // The table is drawn every second and at each reading. Without the pointer the order would change after a second.
  await sleep(1200)
  await publishAs(device, 'row-a', toReading(Date.now() / 1000, 98))
  await page.getByText('98', { exact: true }).waitFor()
  t.equal(await first.textContent(), 'row-a')
  await publishAs(device, 'row-0', toReading(Date.now() / 1000, 55))
  await page.getByRole('button', { name: 'All 4' }).waitFor()
  t.equal(await page.locator('tbody tr').last().locator('a').textContent(), 'row-0', 'a new device is added at the end')
  await page.mouse.move(5, 5)
  await page.getByRole('heading', { name: 'vital-gateway' }).click()
  await page.evaluate('document.activeElement.blur()')
  await until(async () => await first.textContent() === 'row-0')
})

/** The topics that the page subscribes to from now on, and the topics of the messages that it gets. */
function watchTopics (page: Page) {
  const seen = { filters: new Set<string>(), topics: [] as string[] }
  const find = (payload: string | Buffer) => String(payload).match(/vital\/[\w+#-]+/g) ?? []
  page.on('websocket', (socket) => {
    // A frame may hold several packets. Topics are in SUBSCRIBE and UNSUBSCRIBE that are sent, and in PUBLISH that comes.
    socket.on('framesent', ({ payload }) => { for (const filter of find(payload)) seen.filters.add(filter) })
    socket.on('framereceived', ({ payload }) => { seen.topics.push(...find(payload)) })
  })
  return seen
}

t.test('only rows in view are subscribed to, and the others are right, too', { skip }, async (t) => {
  const { httpUrl, mqttPort } = await startGateway(t)
  const device = await connectClient(t, mqttPort)
  const ids = Array.from({ length: 200 }, (_, index) => `bed-${String(index).padStart(3, '0')}`)
  await Promise.all(ids.map((id) => publishAs(device, id, toReading(Date.now() / 1000 - 600, 70))))
  let seen: ReturnType<typeof watchTopics> | undefined
  const page = await openPage(t, httpUrl, { async before (page) { seen = watchTopics(page) } })
  const silent = page.getByRole('button', { name: /^Silent/ })
  await until(async () => await silent.textContent() === 'Silent 200')
  await until(() => seen!.filters.has('vital/bed-000'))
  t.notOk(seen!.filters.has('vital/bed-199'))
  t.ok(seen!.filters.size < 60, `${seen!.filters.size} filters`)
  const phone = await openPage(t, httpUrl, { viewport: { width: 390, height: 800 } })
  await phone.getByRole('link', { name: 'bed-000' }).waitFor()
  const [name, table] = [await phone.locator('thead th').first().boundingBox(), await phone.locator('.table').boundingBox()]
  const age = await phone.locator('thead th').last().boundingBox()
  t.ok(name!.width >= 100, `${name!.width} px for the names of devices on a phone`)
  t.equal(age!.x + age!.width, table!.x + table!.width, 'the columns that are shown fill the table')

  await publishAs(device, 'bed-199', toReading(Date.now() / 1000, 143))
  await publishAs(device, 'bed-198', toReading(Date.now() / 1000, 'high'))
  await until(async () => await silent.textContent() === 'Silent 198')
  await page.getByRole('button', { name: 'Refused 1' }).waitFor()
  t.same(seen!.topics, [], 'no device out of view came over MQTT')
  await page.getByRole('button', { name: /^HR/ }).click()
  await page.getByRole('button', { name: /^HR/ }).click()
  const first = page.locator('tbody tr[aria-rowindex="2"]')
  await first.getByText('bed-199').waitFor()
  await first.getByText('143', { exact: true }).waitFor()
  await until(() => seen!.filters.has('vital/bed-199'))
  await publishAs(device, 'bed-199', toReading(Date.now() / 1000, 144))
  await until(() => seen!.topics.includes('vital/bed-199'))
  await first.getByText('144', { exact: true }).waitFor()
})
