// The gateway with injected faults: the same composition root, with a faulty store and disk.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Store } from '../../../db/store.ts'
import { createConfig, readEnvironment } from '../../../src/config/config.ts'
import { createGateway } from '../../../src/gateway.ts'
import { type Disk, type DiskFile, realDisk } from '../../../src/ingest/journal/spool/disk.ts'
import { createLogger } from '../../../src/log/logger.ts'
import { breakStore, EARLY_MS } from './broken-store.ts'
import type { Failpoint, Injection } from './injection.ts'

const injection = JSON.parse(process.argv[2] ?? '{}') as Injection
const config = createConfig(readEnvironment())
const logger = createLogger({ level: config.logLevel })
let passes = 0
let syncs = 0
let isReplaying = false

function pass (at: Failpoint): void {
  const { failpoint } = injection
  if (failpoint?.at === at && ++passes === failpoint.pass) process.kill(process.pid, 'SIGKILL')
}

let began = 0
let newest = 0
let overtaken = 0

function wrapStore (store: Store): Store {
  const broken = breakStore(store, injection.breaks)
  const { answersLateMs } = injection
  return {
    async write (readings, letters, timeoutMs) {
      if (injection.isDatabaseAway === true) {
        throw Object.assign(new Error('connect ECONNREFUSED, says the harness'), { code: 'ECONNREFUSED' })
      }
      const order = ++began
      const written = await broken.write(readings, letters, timeoutMs)
      pass('after-commit')
      if (isReplaying) pass('replay-after-commit')
      if (answersLateMs !== undefined) await sleep(Math.random() * answersLateMs)
      if (order < newest) overtaken++
      newest = Math.max(newest, order)
      return written
    }
  }
}

const durable: Record<string, number> = {}

/** A rename, so that a kill leaves the old file or the new one. */
function noteDurable (path: string, bytes: number): void {
  if (injection.durablePath === undefined) return
  durable[basename(path)] = bytes
  writeFileSync(`${injection.durablePath}.new`, JSON.stringify(durable))
  renameSync(`${injection.durablePath}.new`, injection.durablePath)
}

function wrapFile (path: string, file: DiskFile): DiskFile {
  let end = 0
  const isSegment = path.endsWith('.spool')
  return {
    ...file,
    async write (buffers, offset) {
      const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
      if (injection.breaks === 'early-ack' && isSegment) {
        const copy = Buffer.concat(buffers)
        sleep(EARLY_MS).then(() => file.write([copy], offset)).catch(() => {})
        return
      }
      await file.write(buffers, offset)
      end = Math.max(end, offset + bytes)
      if (isSegment) pass('after-spool-write')
    },
    async sync () {
      if (injection.breaks === 'early-ack' && isSegment) return
      if (injection.syncFails !== undefined && ++syncs >= injection.syncFails.from) {
        if (syncs === injection.syncFails.from) writeFileSync(injection.syncFails.path, String(Date.now()))
        throw Object.assign(new Error('EIO: i/o error, fdatasync, says the harness'), { code: 'EIO', errno: -5, syscall: 'fdatasync' })
      }
      if (injection.breaks !== 'no-fsync') {
        const syncedEnd = end
        await file.sync()
        if (isSegment) noteDurable(path, syncedEnd)
      }
      if (isSegment) pass('after-spool-fsync')
    }
  }
}

const disk: Disk = {
  ...realDisk,
  async create (path) {
    const file = wrapFile(path, await realDisk.create(path))
    if (path.endsWith('.spool')) noteDurable(path, 0)
    return file
  },
  openToRead (path) {
    isReplaying = true
    return realDisk.openToRead(path)
  },
  rename (from, to) {
    if (basename(to) === 'cursor') pass('replay-before-cursor')
    return realDisk.rename(from, to)
  },
  unlink (path) {
    if (path.endsWith('.spool')) pass('replay-before-unlink')
    return realDisk.unlink(path)
  }
}

// Bytes that an earlier life knew to be durable still are.
try {
  if (injection.durablePath !== undefined) Object.assign(durable, JSON.parse(readFileSync(injection.durablePath, 'utf8')))
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}

const gateway = createGateway({ config, logger, faults: { wrapStore, disk, nowMs: () => Date.now() + (injection.clockAheadMs ?? 0) } })
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (injection.answersLateMs !== undefined) logger.info({ overtaken }, 'batches overtaken by later ones')
    gateway.stop().then(() => process.exit(injection.breaks === 'bad-exit' ? 1 : 0), (error: unknown) => {
      logger.fatal({ err: error }, 'the stop failed')
      process.exit(1)
    })
  })
}
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    logger.fatal({ err: error }, 'a bug ends the process')
    process.exit(1)
  })
}
gateway.start().catch((error: unknown) => {
  logger.fatal({ err: error }, 'the start failed')
  process.exit(1)
})
