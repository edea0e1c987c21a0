/**
 * A process with a spool, for tests that kill it: `child.ts <directory> [<first id> <payload bytes>]`. Prints `open` and a
 * line per acknowledged record (`acknowledged <id>`) or failure (`failed <id> <code>`); without an id it only holds the
 * directory. An error at the open is printed as `refused <code> <message>`.
 */
import { pino } from 'pino'
import { realDisk } from '../../../../src/ingest/journal/spool/disk.ts'
import { openSpool } from '../../../../src/ingest/journal/spool/spool.ts'

const [directory = '', firstId, payloadBytes] = process.argv.slice(2)
// Node ignores SIGXFSZ, so that a write fails with EFBIG. tap's handler of signals would end the process instead.
process.on('SIGXFSZ', () => {})
const write = (line: string) => { process.stdout.write(`${line}\n`) }

try {
  const spool = await openSpool({
    directory, bytesMax: 64 * 1024 * 1024, segmentBytes: 256 * 1024, disk: realDisk, logger: pino({ level: 'silent' })
  })
  write('open')
  process.stdin.on('end', () => { spool.close().then(() => { write('closed') }, (error: unknown) => { throw error }) }).resume()
  if (firstId !== undefined) {
    let id = Number(firstId)
    const lanes = Array.from({ length: 3 }, async () => {
      for (;;) {
        const own = id++
        const payload = Buffer.alloc(Number(payloadBytes), own % 251)
        payload.write(`${own}:`)
        const outcome = await spool.append(payload, 1).then(() => `acknowledged ${own}`,
          ({ code }: { code: string }) => `failed ${own} ${code}`)
        write(outcome)
        if (outcome.startsWith('failed')) await new Promise((resolve) => setTimeout(resolve, 50))
      }
    })
    await Promise.all(lanes)
  }
} catch (error) {
  const { code, message } = error as { code?: string, message: string }
  write(`refused ${code} ${message}`)
}
