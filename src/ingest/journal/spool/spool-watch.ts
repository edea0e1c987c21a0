/**
 * Checks the disk of the spool on its own schedule, whatever the state of PostgreSQL or the circuit. When space is
 * freed on a full disk, the gateway gets no notice of it.
 *
 *   full, failed  a probe (a real write and fsync) after 0.5 s, then after twice as long each time, 5 s at most
 *   ok            while readings go to the spool, and nothing was appended for 5 s, a probe each 5 s, so that readiness
 *                 reports a recent result
 *
 * Each check also counts the files that are set aside, because an operator may have moved them away.
 *
 * Each lasting change is logged in one line, even if the status flaps: `ok` is logged once it has lasted, and until
 * then `full` is not logged again.
 */
import type { Logger } from 'pino'
import type { Spool, SpoolStatus } from './spool.ts'

const PROBE_MIN_MS = 500
const PROBE_MAX_MS = 5000
const PROVED_MS = 5000
/**
 * How long `ok` must last before it is logged: a disk with room for the probe alone changes its status twice a second.
 */
const LASTING_MS = 2000

interface SpoolWatchOptions {
  readonly spool: Pick<Spool, 'status' | 'fault' | 'bytes' | 'provedAtMs' | 'probe' | 'onStatus' | 'countSetAside'>
  /** Whether readings go to the spool now. */
  readonly isNeeded: () => boolean
  /** Called when the status may have changed. */
  readonly onChange: () => void
  readonly logger: Logger
}

export function createSpoolWatch ({ spool, isNeeded, onChange, logger }: SpoolWatchOptions) {
  let timer: NodeJS.Timeout | null = null
  let isStopped = false
  let probeDelayMs = PROBE_MIN_MS
  let probeAtMs = 0
  let told: SpoolStatus = 'ok'
  let toldAtMs = 0
  let okSinceMs: number | null = null

  spool.onStatus(() => {
    tell()
    onChange()
    if (spool.status === 'ok') return
    probeDelayMs = PROBE_MIN_MS
    schedule()
  })

  function tell (): void {
    const nowMs = performance.now()
    const { status, fault, bytes } = spool
    if (status === 'ok') {
      okSinceMs ??= nowMs
      if (told === 'ok' || nowMs - okSinceMs < LASTING_MS) return
      logger.info({ awayMs: Math.round(okSinceMs - toldAtMs) }, 'the spool takes readings again')
      told = 'ok'
      return
    }
    okSinceMs = null
    if (told === status) return
    if (told === 'ok') toldAtMs = nowMs
    told = status
    logger.error({ err: fault, bytes }, status === 'full'
      ? 'the spool is full: readings that PostgreSQL does not take are not acknowledged. Raise VITAL_SPOOL_BYTES_MAX ' +
        'or free space on its disk; no restart is needed'
      : 'the disk of the spool fails: readings that PostgreSQL does not take are not acknowledged. Writing is retried')
  }

  async function look (): Promise<void> {
    const nowMs = performance.now()
    const isDue = spool.status === 'ok' ? isNeeded() && nowMs - spool.provedAtMs >= PROVED_MS : nowMs >= probeAtMs
    if (isDue) {
      const isOk = await spool.probe()
      probeDelayMs = isOk ? PROBE_MIN_MS : Math.min(PROBE_MAX_MS, probeDelayMs * 2)
      probeAtMs = performance.now() + probeDelayMs
    }
    tell()
    onChange()
    await spool.countSetAside()
  }

  function schedule (): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
    if (isStopped) return
    timer = setTimeout(() => {
      timer = null
      look().catch((error: unknown) => {
        logger.error({ err: error }, 'a check of the spool failed; trying again')
      }).finally(() => { if (timer === null) schedule() })
    }, spool.status === 'ok' && told === 'ok' ? PROVED_MS : PROBE_MIN_MS).unref()
  }

  return {
    /** Settles once the spool was probed, if readings go to it now. */
    async start (): Promise<void> {
      await look()
      schedule()
    },
    stop (): void {
      isStopped = true
      schedule()
    }
  }
}
