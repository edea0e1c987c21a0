import type { HttpApp } from './app.ts'

const ALLOWED_HEADERS = 'Authorization, Content-Type, Last-Event-ID, X-API-Key'
const EXPOSED_HEADERS = 'Allow, Retry-After, Vital-Position'
const MAX_AGE_S = 600

/**
 * Lets pages of `origins` read answers: the pages that may speak MQTT over WebSocket. Credentials come in a header
 * alone, so `Access-Control-Allow-Credentials` is not sent. The hook runs before authentication, because a preflight
 * has no credentials, and a page reads refusals too.
 * @param origins - without any, nothing is added
 */
export function addCors (app: HttpApp, origins: readonly string[]): void {
  if (origins.length === 0) return
  const listed = new Set(origins)
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('vary', 'Origin')
    const { origin } = request.headers
    if (origin !== undefined && listed.has(origin)) {
      reply.header('access-control-allow-origin', origin).header('access-control-expose-headers', EXPOSED_HEADERS)
      if (request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined) {
        reply.header('access-control-allow-headers', ALLOWED_HEADERS).header('access-control-max-age', MAX_AGE_S)
      }
    }
    done()
  })
}
