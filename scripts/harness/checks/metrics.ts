import { sumMetric } from '../../command-line/prometheus-text.ts'
import type { Violation } from './stored.ts'

/** One scrape, summed over transports. */
export interface Scrape {
  readonly received: number
  /** Of those, found in the spool at the start. */
  readonly found: number
  readonly stored: number
  readonly logged: number
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
  /** received - stored - logged - duplicate - dead-lettered - refused - pending. */
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
  const logged = sum('readings_logged_total')
  const duplicate = sum('readings_duplicate_total')
  const deadLettered = sum('readings_dead_lettered_total')
  const refused = sum('readings_refused_total')
  const pending = sum('readings_pending')
  return {
    received,
    found: Number(/^vital_readings_received_total\{transport="spool"\} (\d+)/m.exec(text)?.[1] ?? 0),
    stored,
    logged,
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
    balance: received - stored - logged - duplicate - deadLettered - refused - pending
  }
}

export interface Readiness {
  readonly code: number
  readonly spoolStatus: string
  readonly databaseStatus: string
  readonly warnings: readonly string[]
}

export async function readReadiness (httpPort: number): Promise<Readiness> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/health/ready`, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  const body = await response.json() as { spool?: { status?: string }, database?: { status?: string }, warnings?: string[] }
  return {
    code: response.status,
    spoolStatus: body.spool?.status ??
    '',
    databaseStatus: body.database?.status ?? '',
    warnings: body.warnings ?? []
  }
}

export interface Rows {
  readonly readings: number
  readonly letters: number
}

/**
 * C7: compares the metrics of a gateway's life with the rows that it added.
 * @param added - `null` when rows were not counted; then only the balance is checked
 */
export function checkMetrics (seen: Scrape, added: Rows | null): Violation[] {
  const violations: Violation[] = []
  if (seen.balance !== 0) violations.push({ checker: 'C7', message: `the ledger does not balance: ${JSON.stringify(seen)}` })
  if (added === null) return violations
  // After a COMMIT of unknown outcome a row that this life stored counts as duplicate.
  if (seen.stored > added.readings || seen.stored + seen.duplicate < added.readings) {
    violations.push({
      checker: 'C7',
      message: `the tables have ${added.readings} new readings, the metrics say ${seen.stored} stored and ${seen.duplicate} duplicate`
    })
  }
  // Readings that were in the spool at the start may already be in the tables.
  if (added.letters > seen.deadLettered || added.letters + seen.found < seen.deadLettered) {
    violations.push({ checker: 'C7', message: `the tables have ${added.letters} new dead letters, the metrics say ${seen.deadLettered}` })
  }
  return violations
}
