import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t, { type Test } from 'tap'
import { EXAMPLES } from '../../schemas/examples.ts'
import { createBareServer, createOpenApi } from '../../src/http/openapi.ts'
import { HTTP_ERRORS } from '../../src/http/errors.ts'
import type { HttpServerOptions } from '../../src/http/server.ts'
import { startHttpServer } from '../helpers/http-server.ts'

interface Media { schema: { examples?: unknown[] }, example?: unknown, examples?: Record<string, { value: unknown }> }
interface Answer { description: string, headers?: Record<string, unknown>, content: Record<string, Media> }
interface Operation {
  operationId?: string
  summary?: string
  tags?: string[]
  security?: unknown[]
  parameters?: Array<Media & { name: string, description?: string, required?: boolean }>
  requestBody?: { content: Record<string, Media> }
  responses: Record<string, Answer>
}
type Document = Record<string, unknown> & { paths: Record<string, Record<string, Operation>> }

const document = await createOpenApi('1.2.3') as Document
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })
ajv.addSchema(document, 'api')

const escape = (token: string) => token.replaceAll('~', '~0').replaceAll('/', '~1')

/** Checks a value by the schema at a place of the document. */
function check (t: Test, path: readonly string[], value: unknown): void {
  const validate = ajv.compile({ $ref: `api#/${path.map(escape).map(encodeURIComponent).join('/')}` })
  t.ok(validate(value), `${path.join(' ')}: ${ajv.errorsText(validate.errors)}`)
}

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })))

t.test('the document is OpenAPI 3.1 to its own validator', async (t) => {
  const { valid, errors } = await new Validator().validate(structuredClone(document))
  t.ok(valid, JSON.stringify(errors))
})

t.test('every registered route is in the document, or is hidden on purpose', async (t) => {
  const seen: string[] = []
  const { app } = createBareServer('')
  app.addHook('onRoute', ({ method, url, schema }) => {
    for (const name of [method].flat()) {
      if ((schema as { hide?: boolean } | undefined)?.hide === true || name === 'HEAD' || url.startsWith('/docs')) continue
      seen.push(`${name.toLowerCase()} ${url.replaceAll(/:(\w+)/g, '{$1}')}`)
    }
  })
  await app.ready()
  await app.close()
  t.ok(seen.length >= 9)
  t.strictSame(seen.sort(), operations.map(({ path, method }) => `${method} ${path}`).sort())
})

t.test('every operation has an id, a summary, tags, examples, and errors with their codes', (t) => {
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, operations.length, 'each has an id of its own')
  for (const { path, method, operation } of operations) {
    const name = `${method} ${path}`
    t.match(operation, { operationId: /^[a-z]\w+$/, summary: /\w/, tags: [/\w/] }, name)
    const media = [
      ...Object.entries(operation.requestBody?.content ?? {}).map(([type, media]) =>
        ({ at: ['requestBody', 'content', type], media })),
      ...Object.entries(operation.responses).flatMap(([status, { content }]) =>
        Object.entries(content).map(([type, media]) => ({ at: ['responses', status, 'content', type], media })))
    ]
    for (const { at, media: { example, examples = {} } } of media) {
      const values = [...example === undefined ? [] : [example], ...Object.values(examples).map(({ value }) => value)]
      t.not(values.length, 0, `${name} ${at.join(' ')} has an example`)
      for (const value of values) check(t, ['paths', path, method, ...at, 'schema'], value)
    }
    for (const [index, media] of (operation.parameters ?? []).entries()) {
      const { name: parameter, description, schema, required, example, examples } = media
      t.match(description, /\w/, `${name} ${parameter}`)
      const beside = [...example === undefined ? [] : [example], ...Object.values(examples ?? {}).map(({ value }) => value)]
      // Swagger UI fills in these values, and some optional parameters exclude each other.
      if (required !== true) t.same(beside, [], `${name} ${parameter} is not filled in`)
      const values = [...beside, ...schema.examples ?? []]
      t.not(values.length, 0, `${name} ${parameter} has an example`)
      for (const value of values) check(t, ['paths', path, method, 'parameters', String(index), 'schema'], value)
    }
    for (const [status, { headers = {} }] of Object.entries(operation.responses)) {
      const isError = !path.startsWith('/health')
      if (status === '429' || (status === '503' && isError)) t.ok('Retry-After' in headers, `${name} ${status}`)
      if (status === '401') t.ok('WWW-Authenticate' in headers, `${name} ${status}`)
    }
    const needed = operation.security?.length === 0 ? [] : ['401', '403']
    for (const status of [...needed, '400', ...path === '/events' ? [] : ['429'], '500']) {
      t.ok(status in operation.responses, `${name} ${status}`)
    }
  }
  t.end()
})

const codesOf = ({ responses }: Operation) => Object.values(responses).flatMap(({ content }) =>
  Object.keys(content['application/json']?.examples ?? {}))

t.test('every error of the catalogue is documented at an operation, except those without one', (t) => {
  const known = new Set(operations.flatMap(({ operation }) => codesOf(operation)))
  const missing = Object.values(HTTP_ERRORS).map((HttpError) => new HttpError().code).filter((code) => !known.has(code))
  t.strictSame(missing, ['VITAL_ORIGIN_REFUSED', 'VITAL_ROUTE_NOT_FOUND', 'VITAL_METHOD_NOT_ALLOWED'])
  t.end()
})

const fail = (code: string) => () =>
  Promise.reject(code === 'OTHER' ? new TypeError('a defect') : Object.assign(new Error(code), { code }))
const RETRY = 'ECONNREFUSED'
const json = { 'content-type': 'application/json' }
const reading = '{"device":"band-1","timestamp":1}'
const reads = (code: string) => ({ reads: { listLatest: fail(code), findLatest: fail(code) } })
const letters = (code: string) => ({ deadLetters: { list: fail(code), find: fail(code) } })
const history = (code: string) => ({ history: { findHistory: fail(code) } })
const HISTORY = '/vital-data/{device}/history'
const LETTER = '/dead-letters/0197a3f2-9c1e-7d44-8b1a-5f0c2f6d1e90'
const refuse: Partial<HttpServerOptions> = { authenticate: () => ({ status: 'refused', reason: 'no_credentials' }) }
const unknown: Partial<HttpServerOptions> = { authenticate: () => ({ status: 'unavailable' }) }
const stranger = {
  authenticate: () => ({ status: 'accepted', principal: { id: 'x', role: 'nobody' } })
} as unknown as Partial<HttpServerOptions>
const limited = { requestsPerSecondMax: 1e-9 }

interface Case {
  readonly method: 'get' | 'post' | 'delete'
  readonly path: string
  readonly url?: string
  readonly status: number
  readonly code?: string
  readonly body?: string
  readonly headers?: Record<string, string>
  readonly overrides?: Partial<HttpServerOptions>
}

const DEVICE = '/vital-data/{device}'
const get = (path: string, url: string, status: number, code?: string, overrides: Partial<HttpServerOptions> = {}): Case =>
  ({ method: 'get', path, url, status, overrides, ...code !== undefined && { code } })
const post = (status: number, code: string, body: string, more: Partial<Case> = {}): Case =>
  ({ method: 'post', path: '/vital-data', status, code, body, ...more })
const outcome = (answer: object): Case['overrides'] => ({ ingest: (_body, settle) => { settle(answer as never) } })

/** Each is a case of one operation. The test fails for an operation without a case. */
const OWN_CASES: readonly Case[] = [
  get('/vital-data', '/vital-data', 200),
  get('/vital-data', '/vital-data?count=0', 400, 'VITAL_INVALID_QUERY'),
  get('/vital-data', '/vital-data?cursor=x', 400, 'VITAL_INVALID_QUERY', reads('VITAL_INVALID_CURSOR')),
  get('/vital-data', '/vital-data', 503, 'VITAL_READS_BUSY', reads('VITAL_READS_BUSY')),
  get('/vital-data', '/vital-data', 503, 'VITAL_DATABASE_UNAVAILABLE', reads(RETRY)),
  get('/vital-data', '/vital-data', 500, 'VITAL_INTERNAL', reads('OTHER')),
  get(DEVICE, '/vital-data/band-1', 200),
  get(DEVICE, '/vital-data/x', 404, 'VITAL_DEVICE_NOT_FOUND'),
  get(DEVICE, '/vital-data/a%2fb', 400, 'VITAL_INVALID_DEVICE'),
  get(DEVICE, '/vital-data/%ff', 400, 'VITAL_BAD_REQUEST'),
  get(DEVICE, '/vital-data/a?b=1', 400, 'VITAL_INVALID_QUERY'),
  get(DEVICE, '/vital-data/a', 503, 'VITAL_READS_BUSY', reads('VITAL_READS_BUSY')),
  get(DEVICE, '/vital-data/a', 503, 'VITAL_DATABASE_UNAVAILABLE', reads(RETRY)),
  { method: 'delete', path: DEVICE, url: '/vital-data/a', status: 200 },
  { method: 'delete', path: DEVICE, url: '/vital-data/a+b', status: 400, code: 'VITAL_INVALID_DEVICE' },
  { method: 'delete', path: DEVICE, url: '/vital-data/a?b=1', status: 400, code: 'VITAL_INVALID_QUERY' },
  {
    ...get(DEVICE, '/vital-data/a', 503, 'VITAL_DATABASE_UNAVAILABLE', { erase: fail(RETRY) }),
    method: 'delete'
  },
  get(HISTORY, '/vital-data/a/history', 200, undefined, {
    history: {
      findHistory: () => Promise.resolve({ answer: JSON.stringify(EXAMPLES.history), contentType: 'application/json' })
    }
  }),
  get(HISTORY, '/vital-data/a/history', 404, 'VITAL_DEVICE_NOT_FOUND'),
  get(HISTORY, '/vital-data/a+b/history', 400, 'VITAL_INVALID_DEVICE'),
  get(HISTORY, '/vital-data/a/history?from=x', 400, 'VITAL_INVALID_QUERY'),
  get(HISTORY, '/vital-data/a/history', 503, 'VITAL_READS_BUSY', history('VITAL_READS_BUSY')),
  get(HISTORY, '/vital-data/a/history', 503, 'VITAL_DATABASE_UNAVAILABLE', history(RETRY)),
  get('/events', '/events?device=a%2fb', 400, 'VITAL_INVALID_QUERY'),
  get('/events', '/events', 401, 'VITAL_UNAUTHENTICATED', refuse),
  get('/events', '/events', 403, 'VITAL_FORBIDDEN', stranger),
  get('/dead-letters', '/dead-letters', 200),
  get('/dead-letters', '/dead-letters?reason=x', 400, 'VITAL_INVALID_QUERY'),
  get('/dead-letters', '/dead-letters', 503, 'VITAL_READS_BUSY', letters('VITAL_READS_BUSY')),
  get('/dead-letters', '/dead-letters', 503, 'VITAL_DATABASE_UNAVAILABLE', letters(RETRY)),
  get('/dead-letters/{id}', LETTER, 404, 'VITAL_DEAD_LETTER_NOT_FOUND'),
  get('/dead-letters/{id}', LETTER, 503, 'VITAL_READS_BUSY', letters('VITAL_READS_BUSY')),
  get('/dead-letters/{id}', LETTER, 503, 'VITAL_DATABASE_UNAVAILABLE', letters(RETRY)),
  get('/metrics', '/metrics', 200),
  get('/metrics', '/metrics', 500, 'VITAL_INTERNAL', { metrics: fail('OTHER') }),
  get('/health/live', '/health/live', 200),
  get('/health/ready', '/health/ready', 200),
  post(202, '', reading),
  post(400, 'VITAL_EMPTY_BODY', ''),
  post(400, 'VITAL_INVALID_JSON', '{', { overrides: outcome({ status: 'invalid', reason: 'invalid_json', errors: [] })! }),
  post(400, 'VITAL_INVALID_READING', '5', {
    overrides: outcome({ status: 'invalid', reason: 'invalid_reading', errors: [{ path: '', message: 'x' }] })!
  }),
  post(400, 'VITAL_DATABASE_REJECTED', '5', { overrides: outcome({ status: 'invalid', reason: 'database_rejected', errors: [] })! }),
  post(403, 'VITAL_FORBIDDEN', reading, { overrides: outcome({ status: 'forbidden' })! }),
  post(413, 'VITAL_BODY_TOO_LARGE', 'x'.repeat(5000)),
  post(415, 'VITAL_UNSUPPORTED_MEDIA_TYPE', reading, { headers: { 'content-type': 'text/plain' } }),
  post(415, 'VITAL_UNSUPPORTED_CONTENT_ENCODING', reading, { headers: { ...json, 'content-encoding': 'gzip' } }),
  post(429, 'VITAL_OVERLOADED', reading, { overrides: outcome({ status: 'overloaded' })! }),
  post(503, 'VITAL_UNAVAILABLE', reading, { overrides: outcome({ status: 'unavailable' })! })
]

const CASES: readonly Case[] = [
  ...OWN_CASES,
  // The first hook, at each route.
  ...operations.flatMap(({ path, method, operation }): Case[] => {
    const at = { method: method as Case['method'], path, url: path.replace('{device}', 'a').replace('{id}', 'x'), body: reading }
    // A temporary fault must not end a browser's listener for good: it gets 200, and the stream ends.
    if (path === '/events') return []
    const limit: Case = { ...at, status: 429, code: 'VITAL_TOO_MANY_REQUESTS', overrides: limited }
    if (operation.security?.length === 0) return [limit]
    const unverified: Case = { ...at, status: 503, code: 'VITAL_AUTHENTICATION_UNAVAILABLE', overrides: unknown }
    return [
      limit,
      { ...at, status: 401, code: 'VITAL_UNAUTHENTICATED', overrides: refuse },
      { ...at, status: 403, code: 'VITAL_FORBIDDEN', overrides: stranger },
      ...path === '/metrics' ? [] : [unverified]
    ]
  })
]

t.test('every operation has cases of its own', (t) => {
  const walked = new Set(OWN_CASES.map(({ method, path }) => `${method} ${path}`))
  t.strictSame(operations.map(({ path, method }) => `${method} ${path}`).filter((name) => !walked.has(name)), [])
  t.end()
})

t.test('the answers of a real server are as the document says', { timeout: 120_000 }, async (t) => {
  for (const { method, path, url = path, status, code = '', body, headers = json, overrides = {} } of CASES) {
    const { url: base, stop } = await startHttpServer(t, overrides)
    const ask = () => fetch(base + url, {
      method: method.toUpperCase(), ...method === 'post' && { headers, body: body ?? '' }
    })
    // The first one takes the only token.
    if (overrides === limited) await (await ask()).arrayBuffer()
    const response = await ask()
    const name = `${method} ${url} ${status} ${code}`
    t.equal(response.status, status, name)
    const text = await response.text()
    const documented = document.paths[path]?.[method]?.responses[String(status)]
    t.not(documented, undefined, `${name} is documented`)
    const type = (response.headers.get('content-type') ?? '').split(';', 1)[0] ?? ''
    t.ok(documented?.content[type], `${name}: ${type}`)
    if (type === 'application/json') {
      const answer = JSON.parse(text) as { code?: string }
      check(t, ['paths', path, method, 'responses', String(status), 'content', type, 'schema'], answer)
      if (status >= 400) {
        t.equal(answer.code, code, name)
        t.ok(documented?.content[type]?.examples?.[code], `${name} is among the examples`)
      }
    }
    for (const header of Object.keys(documented?.headers ?? {})) {
      // Vital-Position: where there are replicas.
      if (header !== 'Accept-Encoding' && header !== 'Vital-Position') t.ok(response.headers.has(header), `${name} has ${header}`)
    }
    await stop()
  }
})
