import { pino } from 'pino'
import { createHttpServer } from './server.ts'

const unused = () => { throw new Error('a document needs no answers') }

/** A server with every route and no data behind them, for the schemas of its routes. */
export function createBareServer (version: string) {
  return createHttpServer({
    host: '127.0.0.1',
    port: 0,
    bodyBytesMax: 1,
    ingest: unused,
    reads: { listLatest: unused, findLatest: unused },
    deadLetters: { list: unused, find: unused },
    history: { findHistory: unused },
    erase: unused,
    events: { hasRoom: unused, listen: unused },
    health: unused,
    metrics: unused,
    logger: pino({ level: 'silent' }),
    version
  })
}

/** OpenAPI 3.1 of every route, as `GET /docs/json` answers it, without a gateway. */
export async function createOpenApi (version: string): Promise<object> {
  const { app } = createBareServer(version)
  const answer = await app.inject('/docs/json')
  await app.close()
  return answer.json<object>()
}
