/** The live page in a real Chromium, as `npm run build` made it; skipped where there is none. */
import t from 'tap'
import { buildPage, openPage, skip } from '../helpers/browser.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'

t.before(buildPage)

const toReading = (timestamp: number, heartRateValue: unknown) => ({ timestamp, heartRateValue })

t.test('a device that publishes appears, moves and opens; a refusal is a badge with its reason', { skip }, async (t) => {
  const { httpUrl, mqttPort } = await startGateway(t)
  const page = await openPage(t, httpUrl)
  await page.getByText('No reading has arrived yet').waitFor()
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
  const { httpUrl, mqttPort } = await startGateway(t)
  const device = await connectClient(t, mqttPort)
  const publish = (...readings: object[]) => device.publishAsync('vital/ward-3', JSON.stringify(readings), { qos: 1 })
  const nowS = Date.now() / 1000
  const dayBefore = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)
  const noonS = Date.parse(`${dayBefore}T11:00:00Z`) / 1000
  await publish(...Array.from({ length: 100 }, (_, index) => toReading(noonS - 500 + index * 10, index === 50 ? 83 : 64)))
  await publish(...Array.from({ length: 60 }, (_, index) => toReading(nowS - 60 + index, 70)))
  // Noon in Kolkata is not noon in UTC: a time is asked for in the browser's zone.
  const page = await openPage(t, httpUrl, { path: '/#/device/ward-3', timezoneId: 'Asia/Kolkata' })
  const chart = page.getByRole('region', { name: 'Heart rate' })
  await chart.getByText('70', { exact: true }).waitFor()
  await publish(toReading(Date.now() / 1000, 91))
  await chart.getByText('91', { exact: true }).waitFor()

  await page.getByLabel('Go to').fill(`${dayBefore}T16:30`)
  await chart.getByText('83', { exact: true }).waitFor()
  await page.getByText(/16:30:00 (?:GMT\+5:30|IST)$/).waitFor()
  await page.getByRole('group', { name: /^Charts/ }).press('ArrowLeft')
  await chart.getByText('64', { exact: true }).waitFor()
  t.match(page.url(), /#\/device\/ward-3\?span=3600&at=\d+$/)
  await page.reload()
  await chart.getByText('83', { exact: true }).waitFor()

  await page.getByRole('button', { name: 'Live' }).click()
  await page.getByRole('button', { name: '24 h' }).click()
  await page.getByText('Averages of 5 minutes').waitFor()
  await page.getByRole('group', { name: /^Charts/ }).press('Escape')
  await chart.getByText('91', { exact: true }).waitFor()
})
