/**
 * Erasure: removes all data of one device from the gateway, so that none of it comes back.
 *
 * Readings that are not stored yet are in three places: the batcher, the spool, and writes to PostgreSQL whose caller
 * has given up. The erasure waits until each of them has passed on the readings that it held when the erasure began.
 * PostgreSQL, which receives all of them, is cleared of the device last. So the spool is never rewritten: it is
 * replayed as usual, and the replayed readings are deleted.
 *
 *   what was accepted is decided ──> the spool is empty, its files gone ──> late writes have ended ──> request ──>
 *   the other gateways confirm (erasure-requests.ts) ──> markers in Kafka (erasure-markers.ts) ──> PostgreSQL ──> broker
 *
 * Nothing is removed before the request is in PostgreSQL: if PostgreSQL is away, or the backlog is too long, the
 * erasure is refused. After that it is carried out, if necessary by another gateway. A gateway that is cut off or dead
 * does not delay it: the answer names that gateway, which deals with the request before it writes again. Readings that
 * the device sends meanwhile or later are new.
 */
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { eraseDevice } from '../../db/erase/erase-device.ts'
import { StorageError } from '../../db/storage-error.ts'
import type { ErasureAnswer } from '../../schemas/erasure.ts'
import { parseSegmentName } from '../ingest/journal/spool/format.ts'
import { eraseSetAside } from '../ingest/journal/spool/set-aside.ts'
import type { Pipeline } from '../ingest/pipeline.ts'
import type { ErasureJournal } from './erasure-journal.ts'
import type { createErasureMarkers } from './erasure-markers.ts'
import { toRemains } from './erasure-remains.ts'
import type { BrokerMessages, ErasureRequests, ErasureRequestsOptions } from './erasure-requests.ts'

const POLL_MS = 20
/** If the backlog takes longer, the erasure is refused, so that the request is not held without an answer. */
const WAIT_MAX_MS = 30_000

/** Counts of removed data, and the places that may still hold data of the device. */
export type Erasure = Omit<ErasureAnswer, 'deviceId'>

/**
 * Forgets a device in memory. Observers are called in the order of the list, each after the one before has settled.
 * They are called once PostgreSQL, the spool and the files hold nothing of the device any more, and before the broker
 * forgets it. Readings that the device sends meanwhile are new, and may have been observed before this call. If an
 * observer rejects, the erasure fails and may be repeated, and the observers behind it are not called.
 */
export type ErasureObserver = (device: string) => Promise<void> | void

export interface ErasureOptions {
  readonly pipeline: Pick<Pipeline, 'batcher' | 'circuit' | 'isDatabaseUp' | 'spool' | 'writes' | 'refusedLetters'>
  readonly spoolDirectory: string
  /** Records that the device was erased, in case a backup is restored. */
  readonly journal: ErasureJournal
  /** Removes the broker's messages of the device. */
  readonly forget: (device: string) => BrokerMessages
  readonly onErased?: readonly ErasureObserver[]
  readonly requests: ErasureRequests
  readonly onStep?: ErasureRequestsOptions['onStep']
  /** Whether the broker shares messages over Redis. */
  readonly hasRedis: boolean
  /** Given if Kafka is the journal; see {@link createErasureMarkers}. */
  readonly mark?: ReturnType<typeof createErasureMarkers> | undefined
  readonly connectionString: string
  /** Longest wait for the backlog; by default {@link WAIT_MAX_MS}. */
  readonly waitMaxMs?: number
  readonly isStopping: () => boolean
  readonly logger: Logger
}

/** Erases devices, one after the other. */
export function createErasure (options: ErasureOptions) {
  const { journal, forget, onErased = [], requests, mark, onStep, connectionString, waitMaxMs = WAIT_MAX_MS, isStopping, logger } = options
  const { batcher, circuit, isDatabaseUp, spool, writes, refusedLetters } = options.pipeline
  let last: Promise<unknown> = Promise.resolve()

  /** @throws `VITAL_ERASURE_BUSY` */
  async function until (isReached: () => boolean, what: string, deadlineMs: number): Promise<void> {
    while (!isReached()) {
      if (circuit.state === 'open') {
        throw new StorageError('VITAL_ERASURE_BUSY',
          `${mark !== undefined ? 'Kafka' : 'PostgreSQL'} does not take readings now, so nothing was erased`)
      }
      if (isStopping()) throw new StorageError('VITAL_ERASURE_BUSY', 'the gateway stops, so nothing was erased')
      if (performance.now() > deadlineMs) throw new StorageError('VITAL_ERASURE_BUSY', `${what}, so nothing was erased`)
      await sleep(POLL_MS)
    }
  }

  async function run (device: string, actor: string): Promise<Erasure> {
    const startedAtMs = performance.now()
    const deadlineMs = startedAtMs + waitMaxMs
    await until(() => circuit.state !== 'open', '', deadlineMs)
    await until(() => batcher.oldestAcceptedAtMs > startedAtMs, 'readings that were accepted before are not durable ' +
      'yet', deadlineMs)
    // The files must be gone too: if the disk loses a read position, their readings would be replayed. If all readings
    // go through the spool, there are always some files; `requests` marks those before the request instead.
    await until(() => spool.isKeeping || (spool.isEmpty && spool.bytes === 0),
      'the spool still holds readings that wait for PostgreSQL', deadlineMs)
    await writes.settled()
    return await carryOut(device, actor, () => requests.request(device, actor))
  }

  /** @param ask - makes the request, or has it already; resolves with its id */
  async function carryOut (device: string, actor: string, ask: () => Promise<number>): Promise<Erasure> {
    const { gateways, replication, consumers, dropped, ...rows } = await journal.record(device, actor, async () => {
      const request = await ask()
      await requests.look()
      const gateways = await requests.awaitOthers(request)
      const erased = await eraseDevice({
        connectionString, device, actor, request, mark: mark && (() => mark({ device, id: request })), logger, isStopping
      })
      await onStep?.('deleted')
      return { ...erased, gateways, dropped: requests.takeDropped(request) }
    }).catch((cause: unknown) => {
      if (!(cause instanceof StorageError)) throw cause
      throw new StorageError(cause.code, `${cause.message} It stays requested, and is tried again by itself.`, { cause })
    })
    await eraseSetAside(options.spoolDirectory, device)
    await refusedLetters.erase(device)
    for (const observe of onErased) await observe(device)
    const damagedSpoolFiles = await countDamaged(options.spoolDirectory)
    // Removes messages that the broker received between the request and now.
    const messages = forget(device)
    const erased = {
      ...rows,
      retained: dropped.retained + messages.retained,
      queued: dropped.queued + messages.queued,
      damagedSpoolFiles,
      gateways: gateways.map(({ name, state }) => ({ name, state })),
      remains: toRemains({
        gateways,
        replication,
        consumers,
        damagedSpoolFiles,
        keepsReplayed: spool.isKeeping,
        hasRedis: options.hasRedis,
        hasKafka: mark !== undefined
      })
    }
    logger.info({ actor, ...erased }, 'a device was erased')
    return erased
  }

  /** Continues erasures of gateways that are gone, and erasures that failed here. */
  async function resume (): Promise<void> {
    if (!isDatabaseUp()) return
    for (const { id, device, actor } of await requests.takeOver()) await carryOut(device, actor, () => Promise.resolve(id))
    await requests.forgetDone()
  }

  /** Runs one erasure after the other. */
  function inTurn<Result> (work: () => Promise<Result>): Promise<Result> {
    const result = last.then(work)
    last = result.catch(() => {})
    return result
  }

  return {
    /**
     * Removes a device's readings, latest state, dead letters, retained and queued messages, and its data in the spool.
     * @param actor - for the audit log
     * @throws `VITAL_ERASURE_BUSY` when it cannot be done now, with a message that says whether nothing was erased or
     *   the request stays; the error of pg, after which some readings may be removed. It is safe to run again.
     */
    erase (device: string, actor: string): Promise<Erasure> {
      return inTurn(() => run(device, actor))
    },
    resume: () => inTurn(resume),
    /** Settles when no erasure is under way. For a stop, during which each erasure gives up at its next step. */
    async settled (): Promise<void> {
      await last
    }
  }
}

async function countDamaged (directory: string): Promise<number> {
  return (await readdir(directory)).filter((name) => parseSegmentName(name)?.isDamaged === true).length
}
