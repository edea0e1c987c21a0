/** The views of a device, their access rights, and their accessibility by axe, in a real Chromium. */
import type { Page } from 'playwright-core'
import t from 'tap'
import { findFaults } from '../helpers/accessibility.ts'
import { buildPage, openPage, skip } from '../helpers/browser.ts'
import { openCredentials } from '../helpers/credentials.ts'
import { connectClient, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { publishAs, toReading } from '../helpers/readings.ts'

t.setTimeout(240_000)

/** Shared by tests that change only their own devices. */
let gateway: TestGateway

t.before(async () => {
  if (skip !== false) return
  await buildPage()
  gateway = await startGateway(t)
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
  // Noon in Kolkata is not noon in UTC. Times are entered in the zone of the browser.
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

t.test('a link whose device is not well encoded shows the fleet, at once and by a change of the address', { skip }, async (t) => {
  const page = await openPage(t, gateway.httpUrl, { path: '/#/device/ward%2' })
  await page.locator('main.fleet').waitFor()
  await page.goto(`${gateway.httpUrl}/#/gateway`)
  await page.locator('main.gateway').waitFor()
  await page.goto(`${gateway.httpUrl}/#/device/%E0%A4`)
  await page.locator('main.fleet').waitFor()
})

t.test('a login and limits: the secret stays in the tab, other roles are refused, and a revoked one is logged out', { skip }, async (t) => {
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

t.test('axe finds nothing serious, in light and in dark, wide and on a phone', { skip }, async (t) => {
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
