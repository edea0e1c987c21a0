import type { Logger } from 'pino'
import type { Pipeline } from '../ingest/pipeline.ts'
import type { Metrics } from '../metrics/metrics.ts'

/** Interval of the readiness checks. */
const LOOK_INTERVAL_MS = 100

interface ReadinessOptions {
  readonly pipeline: Pick<Pipeline, 'isDurable' | 'circuit' | 'spool' | 'replayer'>
  /** Whether some client can be authenticated now. */
  readonly isAdmitting: () => boolean
  readonly isStopping: () => boolean
  /** Conditions that weaken the gateway now, from every room that reports them. */
  readonly warnings: () => readonly string[]
  /** Unix milliseconds. */
  readonly startedAtMs: number
  readonly metrics: Metrics
  readonly logger: Logger
}

/** Whether a device that comes in now would be acknowledged, for `/health` and for the log. */
export function createReadiness (options: ReadinessOptions) {
  const { pipeline, isAdmitting, isStopping, warnings, startedAtMs, logger } = options
  const { circuit, spool, replayer } = pipeline
  addReadinessMetrics(options.metrics, () => ({ startedAtMs, warnings: warnings().length }))
  const isReady = () => pipeline.isDurable() && isAdmitting() && !isStopping()

  return {
    health: () => ({
      live: true,
      ready: isReady(),
      database: {
        status: circuit.state === 'closed' ? 'up' as const : 'down' as const,
        circuit: circuit.state,
        ...(circuit.openForMs === null ? {} : { downForS: circuit.openForMs / 1000 })
      },
      spool: { status: spool.status, bytes: spool.bytes, bytesMax: spool.bytesMax, readings: replayer.pending },
      warnings: warnings()
    }),

    /**
     * Logs `ready`, once: at the end of the start, or later if PostgreSQL is away and it is not known yet which clients
     * may connect.
     * @returns ends the wait
     */
    announce (): () => void {
      let timer: NodeJS.Timeout | undefined
      const look = () => {
        if (isReady()) logger.info('ready')
        else timer = setTimeout(look, LOOK_INTERVAL_MS).unref()
      }
      look()
      if (timer !== undefined) {
        logger.warn('not ready until PostgreSQL answers: no client can be authenticated, or nothing can be made ' +
          'durable; see /health/ready')
      }
      return () => { clearTimeout(timer) }
    }
  }
}

interface ReadinessStatistics {
  /** Unix milliseconds from which everything is counted. */
  readonly startedAtMs: number
  readonly warnings: number
}

export function addReadinessMetrics (metrics: Metrics, read: () => ReadinessStatistics): void {
  metrics.gauge('vital_start_time_seconds', 'Unix time from which everything here is counted',
    () => read().startedAtMs / 1000)
  metrics.gauge('vital_warnings', 'Warnings that /health/ready lists', () => read().warnings)
}
