/**
 * Erasure: removes all data of one device from the gateway, so that none of it comes back.
 *
 * On their way readings are in three places: the batcher, the spool, and writes to PostgreSQL whose caller has gone.
 * The erasure waits until each has passed on the readings that it held when the erasure began. PostgreSQL, which
 * receives all of them, is cleared of the device last. So the spool is never rewritten: it is replayed as always, and
 * the replayed readings are deleted.
 *
 *   what was accepted is decided ──> the spool is empty, its files gone ──> late writes have ended ──> PostgreSQL ──> broker
 *
 * Nothing is changed before the last two steps: if PostgreSQL is away, or the backlog is too long, the request is
 * refused and nothing was removed. Readings that the device sends meanwhile, or later, are new.
 */
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type ErasedRows, eraseDevice } from '../../db/erase/erase-device.ts'
import { StorageError } from '../../db/storage-error.ts'
import { parseSegmentName } from '../ingest/journal/spool/format.ts'
import { eraseSetAside } from '../ingest/journal/spool/set-aside.ts'
import type { Pipeline } from '../ingest/pipeline.ts'
import type { ErasureJournal } from './erasure-journal.ts'

const POLL_MS = 20
/** A request for an erasure is refused if its backlog takes longer, instead of held without an answer. */
const WAIT_MAX_MS = 30_000

/** The removed data, and the places that may still hold data of the device. */
export interface Erasure extends ErasedRows {
  readonly retained: number
  readonly queued: number
  /** Damaged segments of the spool: they are kept for the operator, never replayed, and may hold any reading. */
  readonly damagedSpoolFiles: number
  /** Connected to the same database; each has a spool and retained messages of its own. */
  readonly otherGateways: number
}

/**
 * Forgets a device in memory. Called in the order of the list, each after the one before has settled, once PostgreSQL,
 * the spool and the files hold nothing of the device any more, and before the broker forgets it. What the device sends
 * meanwhile is new and may have been observed before this call. One that rejects fails the erasure, which may be
 * repeated; the observers behind it are not called.
 */
export type ErasureObserver = (device: string) => Promise<void> | void

export interface ErasureOptions {
  readonly pipeline: Pick<Pipeline, 'batcher' | 'circuit' | 'spool' | 'writes' | 'refusedLetters'>
  readonly spoolDirectory: string
  /** Records that the device was erased, in case a backup is restored. */
  readonly journal: ErasureJournal
  /** Removes the broker's messages of the device. */
  readonly forget: (device: string) => { retained: number, queued: number }
  readonly onErased?: readonly ErasureObserver[]
  readonly connectionString: string
  readonly applicationName: string
  /** Longest that the backlog is waited for; by default {@link WAIT_MAX_MS}. */
  readonly waitMaxMs?: number
  readonly isStopping: () => boolean
  readonly logger: Logger
}

/** Erases devices, one after the other. */
export function createErasure (options: ErasureOptions) {
  const { journal, forget, onErased = [], connectionString, applicationName, waitMaxMs = WAIT_MAX_MS, isStopping, logger } = options
  const { batcher, circuit, spool, writes, refusedLetters } = options.pipeline
  let last: Promise<unknown> = Promise.resolve()

  /** @throws `VITAL_ERASURE_BUSY` */
  async function until (isReached: () => boolean, what: string, deadlineMs: number): Promise<void> {
    while (!isReached()) {
      if (circuit.state === 'open') {
        throw new StorageError('VITAL_ERASURE_BUSY',
          'PostgreSQL does not take readings now, so nothing was erased')
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
    // The files must be gone too: if the disk loses a read position, their readings would be replayed.
    await until(() => spool.isEmpty &&
      spool.bytes === 0, 'the spool still holds readings that wait for PostgreSQL', deadlineMs)
    await writes.settled()
    const { otherGateways, ...rows } = await journal.record(device, actor,
      () => eraseDevice({ connectionString, device, actor, applicationName, logger, isStopping }))
    await eraseSetAside(options.spoolDirectory, device)
    await refusedLetters.erase(device)
    for (const observe of onErased) await observe(device)
    const erased = {
      ...rows, ...forget(device), damagedSpoolFiles: await countDamaged(options.spoolDirectory), otherGateways
    }
    logger.info({ actor, ...erased }, 'a device was erased')
    return erased
  }

  return {
    /**
     * Removes a device's readings, latest state, dead letters, retained and queued messages, and its data in the spool.
     * @param actor - for the audit log
     * @throws `VITAL_ERASURE_BUSY` when it cannot be done now, and nothing was removed; the error of pg, and then
     *   readings may be gone in part. It is safe to run again.
     */
    erase (device: string, actor: string): Promise<Erasure> {
      const erasure = last.then(() => run(device, actor))
      last = erasure.catch(() => {})
      return erasure
    },
    /** Settles when none is under way; for a gateway that stops, and so lets each give up at its next step. */
    async settled (): Promise<void> {
      await last
    }
  }
}

async function countDamaged (directory: string): Promise<number> {
  return (await readdir(directory)).filter((name) => parseSegmentName(name)?.isDamaged === true).length
}
