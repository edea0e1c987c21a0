import type { Health } from '../routes/get-health.ts'

/** The metrics that the page shows. */
const NAMES = [
  'readings_\\w+_total', 'readings_pending', 'ack_duration_seconds_(?:bucket|count)', 'spool_readings', 'spool_bytes',
  'spool_replayed_readings_total', 'mqtt_clients', 'dead_letters', 'dead_letters_max', 'event_loop\\w*', 'start_time_seconds'
]
const SHOWN = new RegExp(`^vital_(?:${NAMES.join('|')})(?:\\{| )`)
const SAMPLE = /^(\S+(?:\{.*\})?) (\S+)$/

/** Pages that ask within this time share an answer, so that ten pages cost as much as one. */
const SHARED_MS = 900

/** The state of the gateway that the page asks for every two seconds. */
export interface PageStatus {
  /** Unix milliseconds by the gateway's clock: the page's ages count by it. */
  readonly nowMs: number
  readonly ready: boolean
  readonly database: Health['database']
  readonly spool: Health['spool']
  readonly warnings: readonly string[]
  readonly isPlaying: boolean
  /** Samples of the metrics, by name with labels. */
  readonly samples: Readonly<Record<string, number>>
}

/** Health and some metrics in one answer, also where `/metrics` listens on a port of its own. */
export function createStatus ({ health, metrics, isPlaying }: {
  readonly health: () => Health
  readonly metrics: () => Promise<string>
  readonly isPlaying: () => boolean
}): () => Promise<PageStatus> {
  let samples: Promise<PageStatus['samples']> | undefined
  let renderedAtMs = -Infinity
  return async () => {
    if (samples === undefined || performance.now() - renderedAtMs > SHARED_MS) {
      renderedAtMs = performance.now()
      samples = metrics().then(toSamples)
    }
    const shown = await samples
    const { ready, database, spool, warnings } = health()
    return { nowMs: Date.now(), ready, database, spool, warnings, isPlaying: isPlaying(), samples: shown }
  }
}

function toSamples (text: string): Record<string, number> {
  return Object.fromEntries(text.split('\n').flatMap((line) => {
    const [, name, value] = SHOWN.test(line) ? SAMPLE.exec(line) ?? [] : []
    return name === undefined ? [] : [[name, Number(value)]]
  }))
}
