import type { HTTPMethods } from 'fastify'
import type { HttpApp } from '../app.ts'
import { HTTP_ERRORS } from '../errors.ts'

/** HEAD comes with GET. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  '/vital-data': ['GET', 'HEAD', 'POST'],
  '/vital-data/:device': ['GET', 'HEAD', 'DELETE'],
  '/dead-letters': ['GET', 'HEAD'],
  '/dead-letters/:id': ['GET', 'HEAD'],
  '/metrics': ['GET', 'HEAD'],
  '/health/live': ['GET', 'HEAD'],
  '/health/ready': ['GET', 'HEAD']
}

/** Answers 405 where the URL is known and the method is not; Fastify would answer 404. */
export function refuseOtherMethods (app: HttpApp): void {
  for (const [url, allowed] of Object.entries(ALLOWED)) {
    if (!app.hasRoute({ url, method: 'GET' })) continue
    app.route({
      url,
      method: app.supportedMethods.filter((method) => !allowed.includes(method)) as HTTPMethods[],
      schema: { hide: true },
      // Before the body, so that its type and size do not matter.
      onRequest: (_request, reply, done) => {
        reply.header('allow', allowed.join(', '))
        done(new HTTP_ERRORS.MethodNotAllowed())
      },
      handler: () => { throw new HTTP_ERRORS.MethodNotAllowed() }
    })
  }
}
