import asyncApi from '@asyncapi/specs/schemas/3.0.0.json' with { type: 'json' }
import { Ajv } from 'ajv'
import t from 'tap'
import { createAsyncApi } from '../../schemas/asyncapi.ts'
import { rejectedTopic, STATISTICS_PREFIX, vitalTopic } from '../../broker/topics.ts'
import { startHttpServer } from '../helpers/http-server.ts'
import { runCommandLine } from '../helpers/command-line.ts'

interface Document {
  readonly asyncapi: string
  readonly channels: Record<string, { address: string, messages: Record<string, { $ref: string }> }>
  readonly operations: Record<string, { bindings: { mqtt: { qos: number, retain: boolean } } }>
  readonly components: {
    readonly schemas: Record<string, object>
    readonly messages: Record<string, { payload: { $ref: string }, examples: Array<{ payload: unknown }> }>
  }
}

const document = JSON.parse(JSON.stringify(createAsyncApi('1.2.3'))) as Document

t.test('the document is AsyncAPI 3.0 to the schema of its specification', (t) => {
  // The specification brings its own copy of JSON Schema draft 7.
  const validate = new Ajv({ strict: false, meta: false, validateSchema: false, validateFormats: false, allErrors: true }).compile(asyncApi)
  t.ok(validate(document), JSON.stringify(validate.errors))
  t.notOk(validate({ ...document, channels: { readings: { address: 5 } } }), 'and the check finds faults')
  t.end()
})

t.test('every reference leads somewhere, and every example is one of its schema', (t) => {
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
  t.equal(document.channels['statistics']?.address, `${STATISTICS_PREFIX}{statistic}`)
  t.match(document.operations['sendRejections']?.bindings.mqtt, { qos: 1, retain: false })
  t.end()
})

t.test('it is served, and printed without a gateway', async (t) => {
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
