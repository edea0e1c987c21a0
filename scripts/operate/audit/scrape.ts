import type { Access } from '../../command-line/access.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { createGatewayClient, toFailure } from '../../command-line/gateway-client.ts'
import { sumMetric } from '../../command-line/prometheus-text.ts'

const TIMEOUT_MS = 10_000

/** The counters of a gateway at one instant, since its start. */
export interface Scrape {
  readonly url: string
  readonly role: 'gateway' | 'sink'
  /** Unix seconds. Not `process_start_time_seconds`, which is rounded: a quick restart would count the last readings of the run before. */
  readonly startedAt: number
  readonly received: number
  readonly stored: number
  /** In Kafka. */
  readonly logged: number
  readonly duplicate: number
  readonly deadLettered: number
  readonly refused: number
  readonly pending: number
  /** The same without readings that an earlier run had left in the spool: they were received before this run began. */
  readonly own: {
    readonly stored: number
    readonly logged: number
    readonly duplicate: number
    readonly deadLettered: number
    /** Not kept: beyond the caps of dead letters, or of a device that was erased. */
    readonly left: number
    readonly unavailable: number
    readonly databaseRejected: number
  }
  readonly spoolReadings: number
  readonly spoolBytes: number
  readonly spoolDamage: number
  /** Dead letters that PostgreSQL refused: in a file of the data directory, or dropped because it was full. */
  readonly lettersRefused: number
  readonly isDatabaseUp: boolean
  readonly retentionReadings: number
}

/** @throws `OPERATOR_FAILED` */
export async function scrape (url: string, access: Access): Promise<Scrape> {
  let text: string
  try {
    const answer = await createGatewayClient({ url, access, timeoutMs: TIMEOUT_MS }).request('/metrics')
    text = answer.text
    if (answer.status !== 200) throw new Error(`it answers ${answer.status}`)
  } catch (cause) {
    if (cause instanceof OperatorError) throw cause
    throw new OperatorError('OPERATOR_FAILED',
      `${url}/metrics cannot be read: ${toFailure(cause)}.\nIs the gateway running? Name another with --url.`, { cause })
  }
  return toScrape(url, text)
}

/** @param text - Prometheus' text exposition format @throws `OPERATOR_FAILED` when it is not a gateway's */
export function toScrape (url: string, text: string): Scrape {
  const sum = (name: string, isWanted?: (labels: string) => boolean) => sumMetric(text, name, isWanted)
  const isOwn = (labels: string) => !labels.includes('transport="spool"')
  const ownOf = (reason: string) => (labels: string) => isOwn(labels) && labels.includes(`reason="${reason}"`)
  const startedAt = sum('vital_start_time_seconds')
  if (startedAt === 0) {
    throw new OperatorError('OPERATOR_FAILED', `the server at ${url} is not this gateway: its metrics lack vital_start_time_seconds.`)
  }
  return {
    url,
    role: /^vital_sink_member /m.test(text) ? 'sink' : 'gateway',
    startedAt,
    received: sum('vital_readings_received_total'),
    stored: sum('vital_readings_stored_total'),
    logged: sum('vital_readings_logged_total'),
    duplicate: sum('vital_readings_duplicate_total'),
    deadLettered: sum('vital_readings_dead_lettered_total'),
    refused: sum('vital_readings_refused_total'),
    pending: sum('vital_readings_pending'),
    own: {
      stored: sum('vital_readings_stored_total', isOwn),
      duplicate: sum('vital_readings_duplicate_total', isOwn),
      logged: sum('vital_readings_logged_total', isOwn),
      deadLettered: sum('vital_readings_dead_lettered_total', isOwn),
      left: sum('vital_readings_refused_total', ownOf('over_cap')) + sum('vital_readings_refused_total', ownOf('erased')),
      unavailable: sum('vital_readings_refused_total', ownOf('unavailable')),
      databaseRejected: sum('vital_readings_dead_lettered_total', ownOf('database_rejected'))
    },
    spoolReadings: sum('vital_spool_readings'),
    spoolBytes: sum('vital_spool_bytes'),
    spoolDamage: sum('vital_spool_damaged_stretches_total'),
    lettersRefused: sum('vital_dead_letters_refused_total'),
    isDatabaseUp: sum('vital_database_up') === 1,
    retentionReadings: sum('vital_retention_removed_readings_total')
  }
}
