import { sumMetric } from '../bench/targets.ts'

/** What one scrape says, summed over transports. */
export interface Scrape {
  readonly received: number
  /** Of those, found in the spool at the start. */
  readonly found: number
  readonly stored: number
  readonly duplicate: number
  readonly deadLettered: number
  readonly refused: number
  readonly pending: number
  readonly spoolReadings: number
  readonly spoolBytes: number
  readonly replayed: number
  readonly damage: number
  readonly bufferBytes: number
  readonly databaseUp: boolean
  readonly readingStopped: boolean
  /** received - stored - duplicate - dead-lettered - refused - pending. */
  readonly balance: number
}

const TIMEOUT_MS = 5000

/** @throws when the gateway does not answer */
export async function scrape (httpPort: number): Promise<Scrape> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  const text = await response.text()
  if (!response.ok) throw new Error(`GET /metrics answered ${response.status}`)
  const sum = (name: string) => sumMetric(text, `vital_${name}`)
  const received = sum('readings_received_total')
  const stored = sum('readings_stored_total')
  const duplicate = sum('readings_duplicate_total')
  const deadLettered = sum('readings_dead_lettered_total')
  const refused = sum('readings_refused_total')
  const pending = sum('readings_pending')
  return {
    received,
    found: Number(/^vital_readings_received_total\{transport="spool"\} (\d+)/m.exec(text)?.[1] ?? 0),
    stored,
    duplicate,
    deadLettered,
    refused,
    pending,
    spoolReadings: sum('spool_readings'),
    spoolBytes: sum('spool_bytes'),
    replayed: sum('spool_replayed_readings_total'),
    damage: sum('spool_damaged_stretches_total'),
    bufferBytes: sum('buffer_bytes'),
    databaseUp: sum('database_up') === 1,
    readingStopped: sum('reading_stopped') === 1,
    balance: received - stored - duplicate - deadLettered - refused - pending
  }
}

export interface Readiness {
  readonly code: number
  readonly spoolStatus: string
  readonly databaseStatus: string
}

export async function readReadiness (httpPort: number): Promise<Readiness> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/health/ready`, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  const body = await response.json() as { spool?: { status?: string }, database?: { status?: string } }
  return { code: response.status, spoolStatus: body.spool?.status ?? '', databaseStatus: body.database?.status ?? '' }
}
