import type { Pipeline } from '../ingest/pipeline.ts'
import type { Metrics } from '../metrics/metrics.ts'

interface ReadinessOptions {
  readonly pipeline: Pick<Pipeline, 'isDurable' | 'isDatabaseUp' | 'target' | 'circuit' | 'spool' | 'replayer'>
  /** Whether some client can be authenticated now. */
  readonly isAdmitting: () => boolean
  readonly isStopping: () => boolean
  /** Conditions that weaken the gateway now, from every room that reports them. */
  readonly warnings: () => readonly string[]
  /** Unix milliseconds. */
  readonly startedAtMs: number
  readonly metrics: Metrics
}

/** Readiness: whether a device that connects now would be acknowledged. */
export function createReadiness (options: ReadinessOptions) {
  const { pipeline, isAdmitting, isStopping, warnings, startedAtMs } = options
  addReadinessMetrics(options.metrics, () => ({ startedAtMs, warnings: warnings().length }))
  const isReady = () => pipeline.isDurable() && isAdmitting() && !isStopping()

  return {
    health: () => ({
      live: true,
      ready: isReady(),
      ...toJournalHealth(pipeline),
      warnings: warnings()
    })
  }
}

/** State of journal, database and spool, for `/health/ready`. */
export function toJournalHealth ({ target, circuit, isDatabaseUp, spool, replayer }: Omit<ReadinessOptions['pipeline'], 'isDurable'>) {
  return {
    ...(target.name === 'Kafka'
      ? { kafka: toCircuitState(circuit), database: { status: toStatus(isDatabaseUp()) } }
      : { database: toCircuitState(circuit) }),
    spool: { status: spool.status, bytes: spool.bytes, bytesMax: spool.bytesMax, readings: replayer.pending }
  }
}

const toStatus = (isUp: boolean) => isUp ? 'up' as const : 'down' as const

function toCircuitState ({ state, openForMs }: Pipeline['circuit']) {
  return { status: toStatus(state === 'closed'), circuit: state, ...(openForMs === null ? {} : { downForS: openForMs / 1000 }) }
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
