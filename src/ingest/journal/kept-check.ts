/**
 * Asks Kafka, every few seconds, for what was replayed a short time ago. What it has lost goes into the spool anew, and so
 * to Kafka; what it has for long enough is removed.
 */
import type { Logger } from 'pino'
import type { FindLost } from '../../kafka/log-position.ts'
import { decodeSubmissions, encodeSubmissions } from './spool/codec.ts'
import type { ErasedDevices } from './spool/erased-devices.ts'
import type { KeptSegment, KeptSegments } from './spool/kept-segments.ts'
import type { Spool } from './spool/spool.ts'
import { toReplayed } from './replay-set.ts'
import { withoutErased } from './without-erased.ts'

const CHECK_INTERVAL_MS = 5000

/** What a pipeline needs in order to keep what it replays. */
export interface Keeping {
  readonly segments: KeptSegments
  /** Milliseconds from the replay on. */
  readonly keepMs: number
  readonly findLost: FindLost
}

interface KeptCheckOptions extends Keeping {
  readonly spool: Pick<Spool, 'append' | 'cut'>
  readonly erased: Pick<ErasedDevices, 'of'> | undefined
  /** The spool took units of the ledger that were in Kafka before. */
  readonly onWrittenAgain: (units: number) => void
  readonly nowMs: () => number
  readonly logger: Logger
}

export function createKeptCheck (options: KeptCheckOptions) {
  const { segments, keepMs, findLost, spool, erased, onWrittenAgain, nowMs, logger } = options
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let isStopped = false
  let isTold = false
  let writtenAgain = 0

  async function check (): Promise<void> {
    // So that what is replayed from now on lies in another segment, and the one before may be kept.
    await spool.cut()
    const kept = segments.all
    const lost = await findLostOf(kept)
    let readings = 0
    for (const [index, segment] of kept.entries()) {
      if (isStopped) break
      if (lost[index] === true) readings += await writeAgain(segment)
      else if (lost[index] === false && nowMs() - segment.keptAtMs > keepMs) await segments.remove(segment)
    }
    if (readings === 0) return
    logger.warn({ readings }, 'Kafka does not have, or may not have, what it had acknowledged: readings that were kept are written to it again')
  }

  /** `null`: Kafka does not tell now. */
  async function findLostOf (kept: readonly KeptSegment[]): Promise<Array<boolean | null>> {
    const positions = kept.flatMap((segment) => segment.positions ?? [])
    const isLost = positions.length === 0 ? [] : await findLost(positions)
    let from = 0
    return kept.map((segment) => {
      if (segment.positions === null) return true
      const own = isLost.slice(from, from += segment.positions.length)
      return own.includes(true) ? true : own.includes(null) ? null : false
    })
  }

  /** @returns units of the ledger; what the spool does not take is tried again, as a whole */
  async function writeAgain (segment: KeptSegment): Promise<number> {
    let units = 0
    const devices = erased?.of(segment.name) ?? []
    for await (const payload of segments.read(segment)) {
      const submissions = await decodeSubmissions(payload).catch((error: unknown) => {
        logger.error({ err: error, segment: segment.name }, 'a record of a kept segment cannot be decoded: it is left out')
        return []
      })
      // Their own transports have counted them.
      const again = submissions.flatMap((of) => withoutErased(toReplayed({ ...of, transport: 'spool' }), devices) ?? [])
      const { payload: encoded, readings } = await encodeSubmissions(again)
      if (readings === 0) continue
      await spool.append(encoded, readings)
      onWrittenAgain(readings)
      writtenAgain += readings
      units += readings
    }
    await segments.remove(segment)
    return units
  }

  function schedule (): void {
    timer = setTimeout(() => {
      running = check().then(() => { isTold = false }, (error: unknown) => {
        if (!isTold) logger.warn({ err: error }, 'what Kafka has of the kept readings is not known now; asking again')
        isTold = true
      }).finally(() => { if (!isStopped) schedule() })
    }, CHECK_INTERVAL_MS).unref()
  }

  return {
    /** Units of the ledger. */
    get writtenAgain () { return writtenAgain },
    start: schedule,
    async stop (): Promise<void> {
      isStopped = true
      clearTimeout(timer)
      await running
    }
  }
}

export type KeptCheck = ReturnType<typeof createKeptCheck>
