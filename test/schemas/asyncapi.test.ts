import asyncApi from '@asyncapi/specs/schemas/3.0.0.json' with { type: 'json' }
import { Ajv } from 'ajv'
import t from 'tap'
import { createAsyncApi } from '../../schemas/asyncapi.ts'
import { rejectedTopic, STATISTICS_PREFIX, vitalTopic } from '../../broker/topics.ts'
import { openEvents } from '../helpers/events.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { startHttpServer } from '../helpers/http-server.ts'
import { runCommandLine } from '../helpers/command-line.ts'
import { until } from '../helpers/until.ts'

interface Document {
  readonly asyncapi: string
  readonly channels: Record<string, { address: string, messages: Record<string, { $ref: string }> }>
  readonly operations: Record<string, { bindings: { mqtt: { qos: number, retain: boolean } } }>
  readonly components: {
    readonly schemas: Record<string, object>
    readonly messages: Record<string, { name?: string, payload: { $ref: string }, examples: Array<{ payload: unknown }> }>
  }
}

const document = JSON.parse(JSON.stringify(createAsyncApi('1.2.3'))) as Document

t.test('the document is AsyncAPI 3.0 to the schema of its specification', (t) => {
  // The specification brings its own copy of JSON Schema draft 7.
  const validate = new Ajv({ strict: false, meta: false, validateSchema: false, validateFormats: false, allErrors: true }).compile(asyncApi)
  t.ok(validate(document), JSON.stringify(validate.errors))
  t.notOk(validate({ ...document, channels: { readings: { address: 5 } } }), 'the check finds faults')
  t.end()
})

t.test('every reference resolves, and every example fits its schema', (t) => {
  const ajv = new Ajv({ strict: false, validateFormats: false })
  ajv.addSchema(document, 'api')
  for (const [, path = ''] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    const target = path.split('/').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], document)
    t.not(target, undefined, path)
  }
  for (const [name, { payload, examples }] of Object.entries(document.components.messages)) {
    const validate = ajv.compile({ $ref: `api${payload.$ref}` })
    t.not(examples.length, 0, name)
    for (const { payload } of examples) t.ok(validate(payload), `${name}: ${ajv.errorsText(validate.errors)}`)
  }
  t.end()
})

t.test('its topics are those of the broker', (t) => {
  t.equal(document.channels['readings']?.address, vitalTopic('{device}'))
  t.equal(document.channels['rejections']?.address, rejectedTopic('{device}'))
  t.equal(document.channels['events']?.address, '/events')
  t.equal(document.channels['statistics']?.address, `${STATISTICS_PREFIX}{statistic}`)
  t.match(document.operations['sendRejections']?.bindings.mqtt, { qos: 1, retain: false })
  t.end()
})

t.test('events of a gateway are those of AsyncAPI and OpenAPI', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const openApi = await (await fetch(`${httpUrl}/docs/json`)).json() as Pick<Document, 'components'>
  const ajv = new Ajv({ strict: false, validateFormats: false })
  ajv.addSchema(document, 'async').addSchema(openApi, 'open')
  const stream = await openEvents(t, httpUrl, '/events', { 'last-event-id': '000000000000-1' })
  const device = await connectClient(t, mqttPort, { clientId: 'band-1' })
  await device.publishAsync('vital/band-1', '{"timestamp":1735689600.25,"heartRateValue":71,"note":[null]}', { qos: 1 })
  await device.publishAsync('vital/band-1', '{"timestamp":1,"heartRateValue":"x"}', { qos: 1 })
  await device.endAsync()
  const names = Object.values(document.components.messages).flatMap(({ name }) => name ?? [])
  await until(() => stream.of('disconnected').length > 0, 'the last event')
  t.same(new Set(stream.events().map(({ type }) => type)), new Set(names))
  for (const { type, data } of stream.events()) {
    const { payload } = Object.values(document.components.messages).find(({ name }) => name === type)!
    for (const api of ['async', 'open']) {
      const validate = ajv.compile({ $ref: `${api}${payload.$ref}` })
      t.ok(validate(data), `${api} ${type}: ${JSON.stringify(data)} ${ajv.errorsText(validate.errors)}`)
      t.notOk(validate({ ...data, more: 1 }), 'and no other')
    }
  }
})

t.test('the document is served, and is printed without a gateway', async (t) => {
  const { url } = await startHttpServer(t)
  const response = await fetch(`${url}/docs/asyncapi.json`)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^application\/json/)
  t.strictSame(await response.json(), document)
  const printed = await runCommandLine(['api', 'asyncapi'])
  t.equal(printed.status, 0)
  t.match(JSON.parse(printed.stdout), { asyncapi: '3.0.0', channels: document.channels })
  const openApi = await runCommandLine(['api', 'openapi'])
  t.equal(openApi.status, 0)
  const served = await (await fetch(`${url}/docs/json`)).json() as { paths: object }
  t.strictSame((JSON.parse(openApi.stdout) as { paths: object }).paths, served.paths)
  t.match(await runCommandLine(['api', 'grpc']), { status: 2, stderr: /Allowed choices are openapi, asyncapi/ })
})
