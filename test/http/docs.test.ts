import t from 'tap'
import { startHttpServer } from '../helpers/http-server.ts'

interface OpenApi {
  openapi: string
  info: { version: string }
  paths: Record<string, Record<string, { responses: Record<string, unknown>, parameters?: unknown, requestBody?: unknown }>>
  components: { schemas: Record<string, unknown> }
}

t.test('OpenAPI 3.1 of every route, with every reference resolved', async (t) => {
  const { url } = await startHttpServer(t)
  const text = await (await fetch(`${url}/docs/json`)).text()
  const api = JSON.parse(text) as OpenApi
  t.match(api.openapi, /^3\.1\./)
  t.equal(api.info.version, '1.2.3')
  const operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`))
  t.strictSame(operations.sort(), [
    'delete /vital-data/{device}', 'get /dead-letters', 'get /dead-letters/{id}', 'get /events',
    'get /health/live', 'get /health/ready', 'get /metrics', 'get /vital-data', 'get /vital-data/{device}',
    'get /vital-data/{device}/history', 'post /vital-data'
  ])
  t.strictSame(Object.keys(api.paths['/vital-data']?.['post']?.responses ?? {}),
    ['202', '400', '401', '403', '408', '413', '415', '429', '431', '500', '503'])
  t.match(api.paths['/vital-data']?.['post']?.requestBody, {
    content: { 'application/json': { schema: { anyOf: [{ $ref: '#/components/schemas/Reading' }, { type: 'array' }] } } }
  })
  t.match(api.paths['/vital-data']?.['get']?.parameters, [
    { name: 'count', in: 'query', required: false }, { name: 'offset', required: false },
    { name: 'sortBy', required: false }, { name: 'orderBy', required: false }
  ])
  for (const [, name = ''] of text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
    t.ok(Object.hasOwn(api.components.schemas, name),
      name)
  }
  t.notMatch(text, /"\$ref":"(?!#\/components\/schemas\/)/)
})

t.test('the page loads only from this gateway, under a content security policy', async (t) => {
  const { url } = await startHttpServer(t)
  const page = await fetch(`${url}/docs`)
  t.equal(page.status, 200)
  const html = await page.text()
  const assets = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => path)
  t.ok(assets.length >= 4)
  for (const path of [...assets, '/docs/', '/docs/json']) {
    t.match(path, /^\/docs\//, 'no other host')
    const asset = await fetch(url + path)
    t.equal(asset.status, 200, path)
    t.equal(asset.headers.get('x-content-type-options'), 'nosniff')
    const policy = asset.headers.get('content-security-policy') ?? ''
    t.match(policy, "default-src 'none'")
    t.notMatch(policy, /https?:|upgrade-insecure-requests/)
    await asset.arrayBuffer()
  }
})
