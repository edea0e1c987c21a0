import type { HTTPMethods } from 'fastify'
import type { HttpApp } from '../app.ts'
import { HTTP_ERRORS, withDetails } from '../errors.ts'

/** HEAD comes with GET. */
export const READ_ONLY = ['GET', 'HEAD', 'OPTIONS'] as const

const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  '/': READ_ONLY,
  '/app/config.json': READ_ONLY,
  '/app/status.json': READ_ONLY,
  '/vital-data': ['GET', 'HEAD', 'POST', 'OPTIONS'],
  '/vital-data/:device': ['GET', 'HEAD', 'DELETE', 'OPTIONS'],
  '/vital-data/:device/history': READ_ONLY,
  '/dead-letters': READ_ONLY,
  '/dead-letters/:id': READ_ONLY,
  '/events': READ_ONLY,
  '/metrics': READ_ONLY,
  '/health/live': READ_ONLY,
  '/health/ready': READ_ONLY
}

/** Their parameter would be empty, and the answer would be about another URL. */
const SLASHED = ['/vital-data/', '/dead-letters/']

/**
 * Answers OPTIONS, 405 where the URL is known and the method is not (Fastify would answer 404), and 404 where a slash
 * is too many.
 * @param why - the message for a method that only a gateway has; absent where this process is a gateway
 */
export function refuseOtherMethods (app: HttpApp, why?: string): void {
  for (const [url, allowed] of Object.entries(ALLOWED)) {
    if (!app.hasRoute({ url, method: 'GET' })) continue
    const here = allowed.filter((method) => method === 'OPTIONS' || app.hasRoute({ url, method: method as HTTPMethods }))
    refuseAllBut(app, url, here, here.length < allowed.length ? why : undefined)
  }
  for (const url of SLASHED) {
    if (!app.hasRoute({ url: url.slice(0, -1), method: 'GET' })) continue
    const refuse = () => withDetails(new HTTP_ERRORS.RouteNotFound(),
      [{ path: '', message: `is ${url.slice(0, -1)}, without a slash at its end` }])
    app.route({
      url,
      method: app.supportedMethods as HTTPMethods[],
      schema: { hide: true },
      onRequest: (_request, _reply, done) => { done(refuse()) },
      handler: () => { throw refuse() }
    })
  }
}

/** Answers OPTIONS of a URL, and 405 to every method but `allowed`. */
export function refuseAllBut (app: HttpApp, url: string, allowed: readonly string[], why?: string): void {
  const refuse = () => why === undefined
    ? new HTTP_ERRORS.MethodNotAllowed()
    : withDetails(new HTTP_ERRORS.MethodNotAllowed(), [{ path: '', message: why }])
  const allow = allowed.join(', ')
  // A browser's preflight has no credentials, and the answer tells only what stands in the documentation.
  app.options(url, { schema: { hide: true }, config: { access: 'public' } }, (_request, reply) => {
    reply.code(204).header('allow', allow)
    if (reply.hasHeader('access-control-allow-origin')) reply.header('access-control-allow-methods', allow)
    return reply.send()
  })
  app.route({
    url,
    method: app.supportedMethods.filter((method) => !allowed.includes(method)) as HTTPMethods[],
    schema: { hide: true },
    // Before the body, so that its type and size do not matter.
    onRequest: (_request, reply, done) => {
      reply.header('allow', allow)
      done(refuse())
    },
    handler: () => { throw refuse() }
  })
}
