import { pino } from 'pino'
import { startEmbeddedPostgres } from '../../db/embedded/server.ts'

/** A gateway reduced to its embedded server, to be killed: prints how it started as one JSON line, and waits for SIGTERM. */
const lines: Array<Record<string, unknown>> = []
const logger = pino({ level: 'info' }, { write: (line) => { lines.push(JSON.parse(line) as Record<string, unknown>) } })
try {
  const server = await startEmbeddedPostgres({ dataDir: process.argv[2] ?? '', logger })
  const stop = () => { server.stop().then(() => process.exit(0), () => process.exit(1)) }
  process.once('SIGTERM', stop)
  // The test that started us is gone.
  process.stdin.once('close', stop).resume()
  process.stdout.write(`${JSON.stringify({ url: server.connectionString, ...lines.find((line) => 'account' in line) })}\n`)
} catch (error) {
  process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`)
  process.exitCode = 1
}
