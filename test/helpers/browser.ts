import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { until } from './until.ts'

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path))
/** `npm test` runs a copy of the checkout, and the page is built in the checkout. */
const COPY = join(import.meta.dirname, '../..')
const ROOT = COPY.replace(/\/\.compiled$/, '')

/** For `t.test`: why tests in a browser cannot run here, or `false`. */
export const skip = CHROMIUM === undefined ? 'no Chromium here: apt-get install chromium' : false

/** Builds the page from src/web/main.tsx, as src/web/vite.config.ts says, unless it is up to date. One file builds it at a time. */
export async function buildPage (): Promise<void> {
  if (skip !== false) return
  mkdirSync(join(ROOT, 'dist'), { recursive: true })
  const unlock = await lock(join(ROOT, 'dist/.page-lock'))
  try {
    spawnSync(process.execPath, [join(ROOT, 'scripts/build-page.js'), '--if-changed'], { stdio: 'inherit' })
    if (COPY !== ROOT) cpSync(join(ROOT, 'dist/web'), join(COPY, 'dist/web'), { recursive: true })
  } finally {
    unlock()
  }
}

/** Settles when no other living process holds the lock. @returns releases it */
async function lock (path: string): Promise<() => void> {
  await until(() => {
    const holder = existsSync(path) ? Number(readFileSync(path, 'utf8')) : null
    if (holder !== null && !isAlive(holder)) rmSync(path, { force: true })
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' })
      return true
    } catch {
      return false
    }
  }, `the lock ${path}`, 100_000)
  return () => { rmSync(path, { force: true }) }
}

function isAlive (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

let browser: Promise<Browser> | undefined

/** A second browser would take a second to start. */
function launch (): Promise<Browser> {
  browser ??= chromium.launch({ executablePath: CHROMIUM!, args: ['--no-sandbox'] }).then((launched) => {
    t.teardown(() => launched.close())
    return launched
  })
  return browser
}

/** Fails the test at a policy violation, an error, or a request to another origin. */
export function watchPage (t: Test, page: Page, url: string): void {
  page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) t.fail(message.text()) })
  page.on('pageerror', (error) => { t.fail(error.message) })
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) t.fail(request.url())
  })
}

/** A tab of its own, watched by {@link watchPage}. `before` runs before anything is loaded. */
export async function openPage (
  t: Test, url: string, { path = '/', before, ...options }: BrowserContextOptions & {
    readonly path?: string
    readonly before?: (page: Page) => Promise<unknown>
  } = {}
): Promise<Page> {
  const context = await (await launch()).newContext({ timezoneId: 'Europe/Berlin', locale: 'en-GB', ...options })
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  watchPage(t, page, url)
  await before?.(page)
  await page.goto(url + path)
  return page
}
