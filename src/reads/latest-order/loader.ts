/**
 * Keeps the order of devices consistent with `latest`, and reports whether it may be trusted.
 *
 *              no other gateway, all of `latest` read
 *   distrusted ───────────────────────────────────────> trusted ──┐ read again once a minute
 *       ▲                                                  │  ▲───┘
 *       └── another gateway is connected, too many devices, many of them deleted by hand
 *
 * Commits of this gateway are observed, also after their caller has gone: a batch whose COMMIT was not answered is in
 * the spool, and is observed when it is replayed. Commits of others are not observed, so with another gateway connected
 * the order is not trusted. Changes by hand are found when `latest` is read again. That happens beside traffic: by key,
 * a thousand rows at a time, with pauses, so that neither the event loop nor PostgreSQL is held up. It also happens
 * soon after PostgreSQL was away, because others may have changed it meanwhile. A busy PostgreSQL never makes the order
 * distrusted: pages sorted there would only add load.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { OrderKeys } from '../../../db/queries/resource-columns.ts'
import type { Clock } from '../../clock.ts'
import type { DeviceOrder } from './device-order.ts'

/** Interval of the check for other gateways. */
const WATCH_INTERVAL_MS = 1000
const RELOAD_INTERVAL_MS = 60_000
/** Largest share of the time for reading `latest` again. */
const RELOAD_SHARE = 0.05
/** The same while the order is not trusted. */
const DISTRUSTED_SHARE = 0.5
/**
 * Rows of one query: each takes 4 µs of PostgreSQL and 5 of the event loop, and acknowledgements wait meanwhile. More
 * rows while PostgreSQL sorts pages, because sorting costs more than that.
 */
const ROWS_PER_READ = 1000
const ROWS_PER_READ_DISTRUSTED = 4000
/** Number of new devices after which the order is read again: ties among them are broken by comparing ids. */
const UNRANKED_RELOAD = 5000
/** Leaves room for growth: an order near its bound would be filled in vain. */
const FULL_SHARE = 0.95
/** A device without a reading of the last so many milliseconds counts as silent. */
const SILENT_AFTER_MS = 5 * 60_000

export interface LoaderOptions {
  readonly order: DeviceOrder
  readonly devicesMax: number
  readonly countOtherGateways: () => Promise<number>
  readonly countDevices: () => Promise<number>
  readonly selectOrderKeys: (after: string, count: number) => Promise<readonly OrderKeys[]>
  readonly clock: Pick<Clock, 'nowMs'>
  readonly logger: Logger
  readonly watchIntervalMs?: number
  readonly reloadIntervalMs?: number
}

/** The rounds: `start` makes the first one now, `stop` settles when none is under way. */
export function createLoader (options: LoaderOptions) {
  const { order, devicesMax, clock, logger, watchIntervalMs = WATCH_INTERVAL_MS, reloadIntervalMs = RELOAD_INTERVAL_MS } = options
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()
  let isTrusted = false
  let isFailing = false
  /** Counts events that made the order untrue; a round of loading that began before the last one proves nothing. */
  let doubts = 0
  let watchedAtMs = 0
  let loadedAtMs = -Infinity
  let loadMs = 0
  let isHurried = false

  function distrust (why: string): void {
    doubts++
    if (isTrusted) logger.info({ why }, 'sorted pages are read from the table')
    isTrusted = false
  }

  /** @returns whether this is the only gateway */
  async function watch (): Promise<boolean> {
    watchedAtMs = performance.now()
    const isAlone = await options.countOtherGateways() === 0
    if (!isAlone) distrust('another gateway is connected to the database')
    return isAlone
  }

  async function load (): Promise<void> {
    let busyMs = 0
    isHurried = false
    const knownDoubts = doubts
    if (order.isFull) order.clear()
    const round = order.begin()
    order.startRanking()
    let after = ''
    for (let rank = 0; ;) {
      const readAtMs = performance.now()
      const moment = order.begin()
      const count = isTrusted ? ROWS_PER_READ : ROWS_PER_READ_DISTRUSTED
      const rows = await options.selectOrderKeys(after, count)
      for (const row of rows) {
        order.take(row, moment)
        order.rank(row.device, rank++)
      }
      after = rows.at(-1)?.device ?? after
      if (stopping.signal.aborted || order.isFull) return
      if (rows.length < count) break
      if (performance.now() - watchedAtMs > watchIntervalMs && !await watch()) return
      const readMs = performance.now() - readAtMs
      busyMs += readMs
      // A round that only looks for changes by hand is not urgent.
      if (isTrusted) await sleep(readMs, undefined, { ref: false })
    }
    order.finishRanking(round, (clock.nowMs() - SILENT_AFTER_MS) * 1000)
    loadedAtMs = performance.now()
    loadMs = busyMs
    if (doubts !== knownDoubts) return
    if (!isTrusted) logger.info({ devices: order.size, loadMs: Math.round(loadMs) }, 'sorted pages come from memory')
    isTrusted = true
  }

  function isDue (): boolean {
    const restedMs = performance.now() - loadedAtMs
    if (!isTrusted) return restedMs > loadMs / DISTRUSTED_SHARE
    return restedMs > loadMs / RELOAD_SHARE &&
      (isHurried || restedMs > reloadIntervalMs || order.unranked > UNRANKED_RELOAD)
  }

  async function round (): Promise<void> {
    if (!await watch()) return
    if (order.isFull) distrust('there are more devices than are kept in memory')
    if (!isDue()) return
    // Otherwise it would be filled in vain in each round.
    if (!isTrusted && await options.countDevices() > devicesMax * FULL_SHARE) order.close()
    else await load()
  }

  async function run (): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await round()
        if (isFailing) logger.info('the order of devices is kept up to date again')
        isFailing = false
      } catch (error) {
        isHurried = true
        if (!isFailing && !stopping.signal.aborted) {
          logger.warn({ err: error },
            'the order of devices cannot be read; trying again')
        }
        isFailing = true
      }
      await sleep(watchIntervalMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
    }
  }

  return {
    get isTrusted (): boolean {
      return isTrusted && !order.isFull
    },
    /** The order may lack something; until it was read again it is not trusted. */
    distrust,
    /** Many rows were changed by hand: `latest` is read again at once, without the usual pause. */
    hurry (): void {
      isHurried = true
    },
    start (): void {
      running = run()
    },
    async stop (): Promise<void> {
      stopping.abort()
      isTrusted = false
      await running
    }
  }
}
