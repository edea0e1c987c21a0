/** The live page in a real Chromium, as `npm run build` made it; skipped where there is none. */
import { cpSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectClient, startGateway } from '../helpers/gateway.ts'

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path))
/** Of what is tested; npm test runs a copy of the checkout, and the page is built in the checkout. */
const COPY = join(import.meta.dirname, '../..')
const ROOT = COPY.replace(/\/\.compiled$/, '')
const skip = CHROMIUM === undefined ? 'no Chromium here: apt-get install chromium' : false

/** A page that fails the test for a violated policy, an error, or a request to anywhere else. */
async function openPage (t: Test, url: string): Promise<Page> {
  const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ['--no-sandbox'] })
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) t.fail(message.text()) })
  page.on('pageerror', (error) => { t.fail(error.message) })
  page.on('request', (request) => { if (!request.url().startsWith(url) && !request.url().startsWith('data:')) t.fail(request.url()) })
  await page.goto(url)
  return page
}

// Built as src/web/vite.config.ts says, from src/web/main.tsx on.
t.before(() => {
  if (skip !== false) return
  spawnSync(process.execPath, [join(ROOT, 'scripts/build-page.js')], { stdio: 'inherit' })
  if (COPY !== ROOT) cpSync(join(ROOT, 'dist/web'), join(COPY, 'dist/web'), { recursive: true })
})

t.test('a device that publishes appears, moves and opens; a refusal is a badge', { skip }, async (t) => {
  const { httpUrl, mqttPort } = await startGateway(t)
  const page = await openPage(t, httpUrl)
  await page.getByText('No reading has arrived yet').waitFor()
  const device = await connectClient(t, mqttPort)
  const publish = (heartRate: unknown) => device.publishAsync('vital/ward-3',
    JSON.stringify({ timestamp: Date.now() / 1000, heartRateValue: heartRate }), { qos: 1 })
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
  t.equal(await page.evaluate('localStorage.length'), 0)
})
