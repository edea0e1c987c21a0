import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import type { FastifySchema } from 'fastify'
import { createAsyncApi } from '../../schemas/asyncapi.ts'
import type { HttpApp } from './app.ts'
import { READERS } from './authentication.ts'
import { JSON_TYPE } from './error-answer.ts'
import type { QueryProperty } from './validator.ts'

/**
 * Swagger UI sets style attributes and draws its icons from data: URLs. Scripts come from here alone, so a description
 * that smuggled in markup could not run. No `upgrade-insecure-requests`, which the plugin's own policy has: the gateway
 * speaks plain HTTP, and browsers would look for the assets over TLS.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'"
].join('; ')

/** Collects the routes' schemas; registered before the routes, because it listens as they are added. */
export async function collectDocs (app: HttpApp, version: string): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'vital-gateway',
        version,
        description: 'Readings over HTTP, under the same promise as over MQTT: acknowledged means stored.',
        license: { name: 'MIT', identifier: 'MIT' }
      },
      tags: [
        { name: 'readings', description: 'For devices' },
        { name: 'devices', description: 'For applications' },
        { name: 'operation', description: 'For operators' }
      ],
      components: {
        securitySchemes: {
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: 'A secret of `vital-gateway credentials`, or a JSON ' +
            'Web Token'
          },
          apiKey: {
            type: 'apiKey',
            in: 'header',
            name: 'X-API-Key',
            description: 'A secret of `vital-gateway ' +
            'credentials`'
          }
        }
      },
      security: [{ bearer: [] }, { apiKey: [] }]
    },
    transform: ({ schema, url }) => ({ schema: withOptionalQuery(schema), url }),
    transformObject (document) {
      if (!('openapiObject' in document)) return document.swaggerObject
      withUnfilledForms(document.openapiObject as Paths)
      return document.openapiObject
    },
    refResolver: { buildLocalReference: (json) => String(json['$id']) }
  })
}

/**
 * Handlers always see a name that has a default, so for the caller it is optional. A name that another one excludes is
 * documented without its default: generated clients would send it, and the other name would be refused.
 */
function withOptionalQuery (schema: FastifySchema): FastifySchema {
  const querystring = schema.querystring as { properties?: Record<string, QueryProperty> } | undefined
  if (querystring?.properties === undefined) return schema
  const { properties } = querystring
  const excluded = new Set(Object.values(properties).flatMap((property) => property['x-excludes'] ?? []))
  const documented = Object.entries(properties).map(([name, { default: byDefault, ...property }]) =>
    [name, byDefault === undefined || excluded.has(name) ? property : { ...property, default: byDefault }])
  return { ...schema, querystring: { ...querystring, properties: Object.fromEntries(documented), required: [] } }
}

interface Parameter {
  required?: boolean
  schema?: object
  example?: unknown
  examples?: Readonly<Record<string, { readonly value: unknown }>>
}

interface Paths {
  readonly paths?: Readonly<Record<string, Readonly<Record<string, { readonly parameters?: Parameter[] }>>>>
}

/**
 * Moves the examples of each optional parameter into its schema. Swagger UI fills a form with examples that stand
 * beside the schema, and a request with every parameter at once is refused.
 */
function withUnfilledForms (document: Paths): void {
  for (const operation of Object.values(document.paths ?? {}).flatMap((path) => Object.values(path))) {
    for (const parameter of operation.parameters ?? []) {
      const { required, example, examples = {} } = parameter
      const values = example === undefined ? Object.values(examples).map(({ value }) => value) : [example]
      if (required === true || values.length === 0) continue
      parameter.schema = { ...parameter.schema, examples: values }
      delete parameter.example
      delete parameter.examples
    }
  }
}

/** `GET /docs` (Swagger UI, its assets served from here), `GET /docs/json` (OpenAPI 3.1) and `GET /docs/asyncapi.json`. */
export async function serveDocs (app: HttpApp, version: string): Promise<void> {
  await app.register(async (docs) => {
    docs.addHook('onRoute', (route) => { route.config = { ...route.config, access: READERS, isForBrowsers: true } })
    docs.addHook('onSend', (_request, reply, _payload, done) => {
      reply
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .header('content-security-policy', CONTENT_SECURITY_POLICY)
      done()
    })
    const asyncApi = JSON.stringify(createAsyncApi(version))
    docs.get('/docs/asyncapi.json', { schema: { hide: true } }, (_request, reply) =>
      reply.header('content-type', JSON_TYPE).send(asyncApi))
    await docs.register(fastifySwaggerUi, {
      routePrefix: '/docs',
      // The layout without a top bar, which would offer to load documents from elsewhere.
      uiConfig: { layout: 'BaseLayout', docExpansion: 'list', displayRequestDuration: true },
      theme: { title: 'vital-gateway API' }
    })
  })
}
