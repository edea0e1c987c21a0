/**
 * One life of a gateway's process: the pipeline of src/gateway.ts without its listeners. Nothing between the transports and
 * PostgreSQL is missing or replaced.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { classifyError } from '../../../db/sqlstate.ts'
import type { Store } from '../../../db/store.ts'
import { TRANSPORTS } from '../../../schemas/transport.ts'
import { createPostgresTarget } from '../../../src/ingest/journal/postgres-target.ts'
import { createRefusedLetters } from '../../../src/ingest/journal/refused-letters.ts'
import type { Ledger } from '../../../src/ingest/ledger.ts'
import { createPipeline } from '../../../src/ingest/pipeline.ts'
import { createMetrics } from '../../../src/metrics/metrics.ts'
import type { Disk, DiskFile } from '../../../src/ingest/journal/spool/disk.ts'
import { openSpool } from '../../../src/ingest/journal/spool/spool.ts'
import type { FakeDatabase } from './database.ts'
import type { VirtualTime } from './time.ts'
import type { FakeDisk } from '../journal/spool/fake-disk.ts'
import type { Random } from '../../../scripts/harness/random.ts'

const DATABASE_WAIT_MS = 1000

export interface GatewayLimits {
  readonly batchReadingsMax: number
  readonly batchBytesMax: number
  readonly batchesInFlightMax: number
  readonly flushIntervalMs: number
  readonly commitTimeoutMs: number
  readonly ackTimeoutMs: number
  readonly bufferReadingsMax: number
  readonly bufferBytesMax: number
  readonly deadLettersMax: number
  readonly spoolBytesMax: number
  readonly spoolSegmentBytes: number
}

export interface SimulatedGatewayOptions {
  readonly limits: GatewayLimits
  readonly time: VirtualTime
  readonly database: FakeDatabase
  readonly disk: FakeDisk
  /** The duration of one operation of the disk. */
  readonly diskLatencyMs: () => number
  readonly isAlive: () => boolean
  /** The store settles before its COMMIT. The checker must notice. */
  readonly isAckEarly: boolean
}

const logger = pino({ level: 'silent' })

/** @throws Error when the spool cannot be opened, at which a real process ends */
export async function startGateway (options: SimulatedGatewayOptions) {
  const { limits, database, isAlive } = options
  const spool = await openSpool({
    directory: '/spool',
    bytesMax: limits.spoolBytesMax,
    segmentBytes: limits.spoolSegmentBytes,
    disk: slowDown(options.disk.mount(), options),
    logger
  })
  let isStopping = false
  let isReadingStopped = false
  const store = database.connect(isAlive)
  // The simulated database refuses no dead letter.
  const refusedLetters = createRefusedLetters({ dataDir: '/', logger })
  const pipeline = createPipeline({
    limits: { ...limits, deadLettersPerDeviceMax: limits.deadLettersMax },
    target: createPostgresTarget({
      store: options.isAckEarly ? acknowledgeEarly(store) : store, pool: database.pool(isAlive), refusedLetters, logger
    }),
    spool,
    clock: {
      nowMs: () => Date.now(), monotonicMs: () => performance.now(), isConfirmed: () => true
    },
    refusedLetters,
    metrics: createMetrics(),
    logger
  })
  pipeline.attach({
    pauseReading () { isReadingStopped = true },
    resumeReading () { isReadingStopped = false },
    publish: () => null
  })
  const { batcher, caps, circuit, ledger, replayer } = pipeline

  async function connectDatabase (): Promise<void> {
    await database.prepare(isAlive)
    caps.load([{ device: null, letters: database.letters.size, bytes: 0 }])
    pipeline.takeTarget()
  }

  async function keepConnecting (): Promise<void> {
    for (;;) {
      await sleep(DATABASE_WAIT_MS)
      if (isStopping) return
      try {
        await connectDatabase()
        return
      } catch (error) {
        if (classifyError(error) !== 'retry') throw error
      }
    }
  }

  try {
    await connectDatabase()
  } catch (error) {
    if (classifyError(error) !== 'retry') throw error
    keepConnecting().catch((fault: unknown) => { setImmediate(() => { throw fault }) })
  }
  await pipeline.start()

  async function stop (): Promise<void> {
    isStopping = true
    await pipeline.drain()
    await pipeline.stop()
    await spool.close()
  }

  return {
    ingest: pipeline,
    batcher,
    replayer,
    circuit,
    spool,
    stop,
    totals: () => toTotals(ledger),
    /** Whether the transports were asked to stop reading. */
    isReadingStopped: () => isReadingStopped,
    isStopping: () => isStopping
  }
}

export type SimulatedGateway = Awaited<ReturnType<typeof startGateway>>

/** The ledger's terms, by transport; each may only grow. */
function toTotals (ledger: Ledger) {
  return TRANSPORTS.map((transport) => {
    const { received, stored, duplicate, deadLettered, refused } = ledger.account(transport)
    return { transport, received, stored, duplicate, deadLettered: sum(deadLettered), refused: sum(refused) }
  })
}

function sum (counts: ReadonlyMap<string, number>): number {
  let total = 0
  for (const count of counts.values()) total += count
  return total
}

/** A planted defect: a write is reported as stored too early. */
function acknowledgeEarly (store: Store): Store {
  return {
    async write (readings, letters) {
      store.write(readings, letters).catch(() => {})
      return { duplicates: [] }
    }
  }
}

/** Small limits, so that a schedule of a few dozen messages reaches every bound. */
export function drawLimits (random: Random): GatewayLimits {
  const spoolSegmentBytes = 500 + random.below(4000)
  return {
    batchReadingsMax: random.pick([1, 5, 20, 100]),
    batchBytesMax: random.pick([2000, 20_000, 1e6]),
    batchesInFlightMax: random.pick([1, 2, 2, 3]),
    flushIntervalMs: random.pick([0, 5, 50]),
    commitTimeoutMs: random.pick([50, 500, 1500]),
    ackTimeoutMs: random.pick([300, 2000, 5000]),
    bufferReadingsMax: random.pick([20, 50, 1000]),
    bufferBytesMax: random.pick([20_000, 1e9]),
    deadLettersMax: random.chance(0.2) ? random.below(10) : Infinity,
    spoolBytesMax: random.chance(0.4) ? 2 * spoolSegmentBytes + random.below(6000) : 1e9,
    spoolSegmentBytes
  }
}

/** A slow disk, so that the process can die during an operation. */
function slowDown (disk: Disk, { diskLatencyMs, isAlive, time }: SimulatedGatewayOptions): Disk {
  const pass = async () => {
    const ms = diskLatencyMs()
    if (ms === 0) return
    await new Promise<void>((resolve) => { time.later(ms, () => { if (isAlive()) resolve() }) })
  }
  const slowFile = (file: DiskFile): DiskFile => ({
    // The MiB of a probe is scaled down like the other limits. Copying it would take most of the run.
    write: async (buffers, offset) => {
      await pass()
      await file.write(buffers.map((bytes) => bytes.length === 1024 * 1024 ? bytes.subarray(0, 4096) : bytes), offset)
    },
    read: async (into, offset) => {
      await pass()
      return await file.read(into, offset)
    },
    sync: async () => {
      await pass()
      await file.sync()
    },
    close: () => file.close()
  })
  return {
    ...disk,
    create: async (path) => {
      await pass()
      return slowFile(await disk.create(path))
    },
    openToRead: async (path) => slowFile(await disk.openToRead(path)),
    rename: async (from, to) => {
      await pass()
      await disk.rename(from, to)
    },
    syncDirectory: async (directory) => {
      await pass()
      await disk.syncDirectory(directory)
    }
  }
}
