import Fastify from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { ReadingSchema } from '../../../schemas/reading.ts'

// The ceiling: Fastify with the same route, body schema and answer, which stores nothing.
const app = Fastify().withTypeProvider<TypeBoxTypeProvider>()
app.post('/vital-data', { schema: { body: ReadingSchema } }, (request, reply) => reply.code(202).send({ status: 'accepted' }))
await app.listen({ port: 0, host: '127.0.0.1' })
const address = app.server.address()
if (address !== null && typeof address === 'object') process.send?.({ type: 'listening', port: address.port })
process.on('disconnect', () => process.exit())
