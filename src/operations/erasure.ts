/**
 * Erasure: removes what the gateway holds of one device, so that nothing of it comes back.
 *
 * Readings lie in three places on their way: the batcher, the spool, a write to PostgreSQL that nobody waits for any
 * more. Each is waited for until it has passed on what it held when the erasure began; PostgreSQL, where all of it
 * ends, is emptied of the device last. So the spool is never rewritten: it is replayed, as always, and what was
 * replayed is deleted.
 *
 *   what was accepted is decided ──> the spool is empty, its files gone ──> late writes have ended ──> PostgreSQL ──> broker
 *
 * Nothing is changed before the last two steps: where PostgreSQL is away, or the backlog is too long to wait for, that
 * is told and all is as it was. What the device sends meanwhile, or later, is new.
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
/** A request for an erasure is refused for a backlog that takes longer, instead of held without an answer. */
const WAIT_MAX_MS = 30_000

/** What was removed, and what may still hold something of the device. */
export interface Erasure extends ErasedRows {
  readonly retained: number
  readonly queued: number
  /** Segments of the spool that the disk damaged: they are kept for a person, never replayed, and may hold anything. */
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
  /** Where it stands that the device was erased, should a backup be restored. */
  readonly journal: ErasureJournal
  /** What the broker holds of it. */
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
    // Its files too: a read position that the disk loses would bring back what they hold.
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
     * Removes a device's readings, latest state, dead letters, retained and queued messages, and what the spool holds
     * of it.
     * @param actor - for the audit log
     * @throws `VITAL_ERASURE_BUSY` when it cannot be done now, and nothing was; what pg failed with, and then readings
     *   may be gone in part. It is safe to run again.
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
