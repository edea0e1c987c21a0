import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { createFleetChanges } from '../../src/http/page/fleet-changes.ts'
import type { Page } from '../../src/http/page/page.ts'
import { exactly } from '../helpers/exactly.ts'
import { expectError, startHttpServer } from '../helpers/http-server.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const SCRIPT = 'export const answer = 42\n'

async function createBuiltPage (t: Test): Promise<string> {
  const dir = await createTestDir(t)
  await mkdir(join(dir, 'assets'))
  await writeFile(join(dir, 'index.html'), '<!doctype html><title>vital-gateway</title>')
  await writeFile(join(dir, 'assets/index-abc.js'), SCRIPT)
  await writeFile(join(dir, 'assets/index-abc.js.br'), brotliCompressSync(SCRIPT))
  await writeFile(join(dir, 'secret.txt'), 'not of the page')
  return dir
}

const toPage = (dir: string | null, recordings: Page['recordings'] = null): Page => ({
  dir,
  limits: { 'ward-': { heartRateValue: [40, 130] } },
  mqtt: () => ({ port: 1883, securePort: null }),
  changes: createFleetChanges(),
  recordings
})

t.test('the page comes with its policy, and its files are cached for good', async (t) => {
  const { url } = await startHttpServer(t, { page: toPage(await createBuiltPage(t)) })
  const index = await fetch(`${url}/`)
  t.equal(index.status, 200)
  t.equal(index.headers.get('content-type'), 'text/html; charset=utf-8')
  t.equal(index.headers.get('cache-control'), 'no-cache')
  const policy = index.headers.get('content-security-policy') ?? ''
  t.match(policy, "default-src 'none'; script-src 'self'; style-src 'self'")
  t.notMatch(policy, /unsafe|\*|https?:/)

  const script = await fetch(`${url}/app/assets/index-abc.js`, { headers: { 'accept-encoding': 'gzip, br' } })
  t.equal(script.headers.get('content-encoding'), 'br')
  t.match(script.headers.get('cache-control'), 'immutable')
  t.equal(await script.text(), SCRIPT)
  const plain = await fetch(`${url}/app/assets/index-abc.js`, { headers: { 'accept-encoding': 'br;q=0' } })
  t.equal(plain.headers.get('content-encoding'), null)
  const etag = index.headers.get('etag') ?? ''
  t.equal((await fetch(`${url}/`, { headers: { 'if-none-match': etag } })).status, 304)
  t.equal((await fetch(`${url}/app/secret.txt`)).status, 404, 'only files of the page are served')
  t.equal((await fetch(`${url}/app/%2e%2e/package.json`)).status, 404)
})

t.test('a wrong method on a path of the page is 405 with Allow', async (t) => {
  const { url } = await startHttpServer(t, { page: toPage(await createBuiltPage(t)) })
  for (const [method, path, allow] of [
    ['POST', '/', 'GET, HEAD, OPTIONS'], ['PUT', '/app/assets/index-abc.js', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/app/config.json', 'GET, HEAD, OPTIONS'], ['POST', '/app/status.json', 'GET, HEAD, OPTIONS'],
    ['GET', '/app/play', 'POST, DELETE, OPTIONS']
  ] as const) {
    const answer = await fetch(url + path, { method })
    t.equal(answer.headers.get('allow'), allow, `${method} ${path}`)
    await expectError(t, answer, 405, 'VITAL_METHOD_NOT_ALLOWED')
  }
  t.equal((await fetch(`${url}/app/play`, { method: 'OPTIONS' })).status, 204)
})

t.test('without a built page the answer says how to build it', async (t) => {
  const { url } = await startHttpServer(t, { page: toPage(null) })
  const answer = await fetch(`${url}/`)
  t.equal(answer.status, 503)
  t.match(await answer.text(), 'npm run build')
})

t.test('the page is public, and its data is for operators', async (t) => {
  const { url } = await startHttpServer(t, {
    page: toPage(await createBuiltPage(t)),
    authenticate: ({ authorization }) => authorization === 'Bearer good'
      ? { status: 'accepted', principal: { id: 'otto', role: 'operator' } }
      : { status: 'refused', reason: 'no_credentials' },
    metrics: () => Promise.resolve('vital_readings_pending 3\nnodejs_version_info{version="x"} 1\n')
  })
  t.equal((await fetch(`${url}/`)).status, 200)
  for (const path of ['/app/config.json', '/app/status.json', '/app/changes.json']) {
    await expectError(t, await fetch(url + path), 401, 'VITAL_UNAUTHENTICATED')
  }
  const headers = { authorization: 'Bearer good' }
  t.match(await (await fetch(`${url}/app/config.json`, { headers })).json(), {
    principal: { id: 'otto', role: 'operator' }, limits: { 'ward-': { heartRateValue: exactly(40, 130) } }, mayPlay: false
  })
  const status = await (await fetch(`${url}/app/status.json`, { headers })).json() as { samples: unknown, nowMs: number }
  t.same(status.samples, { vital_readings_pending: 3 })
  t.ok(Math.abs(status.nowMs - Date.now()) < 60_000)
})

t.test('large changes do not begin while others wait for slow pages; small ones do, and it ends with the clients', async (t) => {
  const large = 'x'.repeat(12 * 1024 * 1024)
  const { url } = await startHttpServer(t, {
    page: { ...toPage(await createBuiltPage(t)), changes: { since: (position) => position === 'small' ? '{}' : large } }
  })
  const slow = Array.from({ length: 3 }, () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1').pause()
    t.teardown(() => { socket.destroy() })
    socket.write('GET /app/changes.json HTTP/1.1\r\nHost: x\r\n\r\n')
    return socket
  })
  const ask = async (query: string) => {
    const answer = await fetch(`${url}/app/changes.json${query}`)
    await answer.text()
    return answer.status
  }
  await until(async () => await ask('') === 503, 'large answers to be refused')
  await expectError(t, await fetch(`${url}/app/changes.json`), 503, 'VITAL_READS_BUSY')
  t.equal(await ask('?since=small'), 200)
  for (const socket of slow) socket.destroy()
  await until(async () => await ask('') === 200, 'large answers to be sent')
})

t.test('recordings are played only for this machine, while no credentials exist', async (t) => {
  let isPlaying = false
  const recordings = { isPlaying: () => isPlaying, start () { isPlaying = true }, stop () { isPlaying = false } }
  const dir = await createBuiltPage(t)
  const { url } = await startHttpServer(t, { page: toPage(dir, recordings) })
  const play = (method: string, headers: Record<string, string> = {}) => fetch(`${url}/app/play`, { method, headers })
  await expectError(t, await play('POST', { origin: 'https://evil.example' }), 403, 'VITAL_FORBIDDEN')
  t.notOk(isPlaying, 'a page of another origin starts nothing here')
  t.equal((await play('POST', { origin: url })).status, 202)
  t.ok(isPlaying)
  t.equal((await play('DELETE')).status, 202)
  t.notOk(isPlaying)

  const closed = await startHttpServer(t, {
    page: toPage(dir, recordings), authenticate: () => ({ status: 'accepted', principal: { id: 'ann', role: 'admin' } })
  })
  await expectError(t, await fetch(`${closed.url}/app/play`, { method: 'POST' }), 403, 'VITAL_FORBIDDEN')
  const none = await startHttpServer(t, { page: toPage(dir) })
  await expectError(t, await fetch(`${none.url}/app/play`, { method: 'POST' }), 403, 'VITAL_FORBIDDEN')
})
