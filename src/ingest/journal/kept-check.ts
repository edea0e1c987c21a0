/**
 * Asks Kafka, every few seconds, whether it still has what was replayed a short time ago. Segments with lost records
 * are appended to the spool again, and so written to Kafka again. Segments that Kafka has had for long enough are
 * removed.
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

/** Options of a pipeline that keeps what it replays. */
export interface Keeping {
  readonly segments: KeptSegments
  /** Milliseconds from the replay until a segment may be removed. */
  readonly keepMs: number
  readonly findLost: FindLost
}

interface KeptCheckOptions extends Keeping {
  readonly spool: Pick<Spool, 'append' | 'cut'>
  readonly erased: Pick<ErasedDevices, 'of'> | undefined
  /** Called when units of the ledger that were in Kafka before were appended to the spool again. */
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
    // Ends the current segment, so that it can be kept once all of it is replayed.
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
    logger.warn({ readings }, 'Kafka has lost, or may have lost, acknowledged readings: the kept ones are written to it again')
  }

  /** @returns for each segment whether records of it are lost; `null`: Kafka cannot tell now */
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

  /** @returns units of the ledger. If the spool refuses a part, the next check writes the whole segment again */
  async function writeAgain (segment: KeptSegment): Promise<number> {
    let units = 0
    const devices = erased?.of(segment.name) ?? []
    for await (const payload of segments.read(segment)) {
      const submissions = await decodeSubmissions(payload).catch((error: unknown) => {
        logger.error({ err: error, segment: segment.name }, 'a record of a kept segment cannot be decoded: it is left out')
        return []
      })
      // Their own transports counted them when they were received.
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
        if (!isTold) logger.warn({ err: error }, 'Kafka cannot tell now whether it has the kept readings; asking again')
        isTold = true
      }).finally(() => { if (!isStopped) schedule() })
    }, CHECK_INTERVAL_MS).unref()
  }

  return {
    /** Units of the ledger that were appended to the spool again. */
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
