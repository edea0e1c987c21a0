/**
 * One life of a gateway's process: every part of ingest, wired as src/gateway.ts wires it, without what listens. Between
 * the transports and PostgreSQL nothing is missing and nothing is replaced.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { classifyError } from '../../../db/sqlstate.ts'
import { Batcher } from '../../../src/ingest/batcher.ts'
import { Circuit } from '../../../src/ingest/journal/circuit.ts'
import { DeadLetterCaps } from '../../../src/ingest/dead-letter-caps.ts'
import { createIngest } from '../../../src/ingest/ingest.ts'
import { type Batch, createJournal } from '../../../src/ingest/journal/journal.ts'
import { TRANSPORTS } from '../../../schemas/transport.ts'
import { Ledger } from '../../../src/ingest/ledger.ts'
import { Replayer } from '../../../src/ingest/journal/replayer.ts'
import type { Disk, DiskFile } from '../../../src/ingest/journal/spool/disk.ts'
import { openSpool } from '../../../src/ingest/journal/spool/spool.ts'
import { createSpoolWatch } from '../../../src/ingest/journal/spool/spool-watch.ts'
import { createWriter } from '../../../src/ingest/journal/postgres-writer.ts'
import type { FakeDatabase } from './database.ts'
import type { VirtualTime } from './time.ts'
import type { FakeDisk } from '../journal/spool/fake-disk.ts'
import type { Random } from '../../../scripts/harness/random.ts'

const DRAIN_TIMEOUT_MS = 10_000
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
  /** Of one operation of the disk. */
  readonly diskLatencyMs: () => number
  readonly isAlive: () => boolean
  /** Acknowledges before anything is durable: the checker has to notice. */
  readonly isAckEarly: boolean
}

const logger = pino({ level: 'silent' })

/** @throws where the spool cannot be opened: a process that ends there */
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
  const ledger = new Ledger()
  const caps = new DeadLetterCaps({
    deadLettersMax: limits.deadLettersMax, deadLettersPerDeviceMax: limits.deadLettersMax, deadLetterBytesMax: 1e9
  })
  const isDurable = () => circuit.state === 'closed' || spool.status === 'ok'
  const updateAvailability = () => batcher.setAvailable(isDurable())
  const circuit: Circuit = new Circuit({
    pool: database.pool(isAlive),
    logger,
    hasBacklog: () => replayer.hasTrial,
    onChange: () => {
      updateAvailability()
      replayer.wake()
    }
  })
  const spoolWatch = createSpoolWatch({ spool, isNeeded: () => circuit.state !== 'closed', onChange: updateAvailability, logger })
  const journal = createJournal({
    writer: createWriter({ store: database.connect(isAlive), logger }),
    spool,
    circuit,
    logger,
    commitTimeoutMs: limits.commitTimeoutMs,
    onRetry: (batch) => batcher.dropAbandoned(batch),
    onSpooled: () => replayer.wake(),
    onStuck: updateAvailability
  })
  const batcher: Batcher = new Batcher({
    limits,
    ledger,
    commit: options.isAckEarly ? (batch) => commitEarly(batch, journal.commit) : journal.commit,
    monotonicMs: () => performance.now(),
    onPressure: (isClosed) => { isReadingStopped = isClosed },
    onBatch: () => {},
    onSpooled: (units) => replayer.add(units)
  })
  const replayer = new Replayer({ ...limits, spool, circuit, ledger, logger, write: journal.writeInTime, isBusy: () => batcher.isBusy })
  const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now(), isConfirmed: () => true }
  const ingest = createIngest({ batcher, caps, ledger, clock, nameHints: { observe () {} }, onDurable: () => {}, fanOut: () => {} })

  async function connectDatabase (): Promise<void> {
    await database.prepare(isAlive)
    caps.load([{ device: null, letters: database.letters.size, bytes: 0 }])
    circuit.prove()
    circuit.start()
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
  await spoolWatch.start()
  replayer.start()

  async function stop (): Promise<void> {
    isStopping = true
    await batcher.drain(DRAIN_TIMEOUT_MS)
    batcher.stop()
    journal.stop()
    circuit.stop()
    spoolWatch.stop()
    await replayer.stop()
    await spool.close()
  }

  return {
    ingest,
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

async function commitEarly (batch: Batch, commit: (batch: Batch) => Promise<unknown>) {
  commit(batch).catch(() => {})
  return 'stored' as const
}

/** Everything is small, so that every bound is met in a schedule of a few dozen messages. */
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

/** A disk that takes its time, so that the process can die while it works. */
function slowDown (disk: Disk, { diskLatencyMs, isAlive, time }: SimulatedGatewayOptions): Disk {
  const pass = async () => {
    const ms = diskLatencyMs()
    if (ms === 0) return
    await new Promise<void>((resolve) => { time.later(ms, () => { if (isAlive()) resolve() }) })
  }
  const slowFile = (file: DiskFile): DiskFile => ({
    // The probe's MiB is scaled down as all the rest is; copying it took most of the run.
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
