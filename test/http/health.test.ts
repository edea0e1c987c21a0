import t from 'tap'
import { expectError, startHttpServer } from '../helpers/http-server.ts'

const UP = {
  live: true, ready: true, database: { status: 'up' }, spool: { status: 'ok', bytes: 0, bytesMax: 10 }, warnings: []
} as const

t.test('live and ready', async (t) => {
  const { url } = await startHttpServer(t, { health: () => ({ ...UP, warnings: ['fsync is off'] }) })
  const live = await fetch(`${url}/health/live`)
  t.equal(live.status, 200)
  t.equal(live.headers.get('cache-control'), 'no-store')
  t.strictSame(await live.json(), { status: 'live' })
  const ready = await fetch(`${url}/health/ready`)
  t.equal(ready.status, 200)
  t.strictSame(await ready.json(), {
    status: 'ready', database: { status: 'up' }, spool: { status: 'ok', bytes: 0, bytesMax: 10 }, warnings: ['fsync is off']
  })
})

t.test('ready while the spool replaces PostgreSQL', async (t) => {
  const { url } = await startHttpServer(t, { health: () => ({ ...UP, database: { status: 'down' } }) })
  const response = await fetch(`${url}/health/ready`)
  t.equal(response.status, 200)
  t.match(await response.json(), { status: 'ready', database: { status: 'down' } })
})

t.test('503 when nothing can be made durable, or ingest is stuck', async (t) => {
  const { url } = await startHttpServer(t, {
    health: () => ({ ...UP, live: false, ready: false, database: { status: 'down' }, spool: { status: 'full', bytes: 10, bytesMax: 10 } })
  })
  const ready = await fetch(`${url}/health/ready`)
  t.equal(ready.status, 503)
  t.strictSame(await ready.json(), {
    status: 'unavailable', database: { status: 'down' }, spool: { status: 'full', bytes: 10, bytesMax: 10 }, warnings: []
  })
  const live = await fetch(`${url}/health/live`)
  t.equal(live.status, 503)
  t.strictSame(await live.json(), { status: 'stuck' })
})

t.test('each probe checks again', async (t) => {
  let ready = true
  const { url } = await startHttpServer(t, { health: () => ({ ...UP, ready }) })
  t.equal((await fetch(`${url}/health/ready`)).status, 200)
  ready = false
  t.equal((await fetch(`${url}/health/ready`)).status, 503)
})

t.test('metrics', async (t) => {
  const { url } = await startHttpServer(t, { metrics: () => Promise.resolve('# HELP x\nx 1\n') })
  const response = await fetch(`${url}/metrics`)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/plain; ?version=0\.0\.4/)
  t.equal(await response.text(), '# HELP x\nx 1\n')

  const broken = await startHttpServer(t, { metrics: () => Promise.reject(new Error('inside')) })
  const body = await expectError(t, await fetch(`${broken.url}/metrics`), 500, 'VITAL_INTERNAL')
  t.notMatch(body.message, 'inside')
})
