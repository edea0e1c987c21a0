/** Writes a history as JSON, NDJSON or CSV, of readings or of buckets. */
import { stringify } from 'csv-stringify/sync'
import type { HistoryRow } from '../../../db/queries/select-history.ts'
import type { Bucket, SignSummary } from '../../../db/rollups/select-buckets.ts'
import type { BucketName, HistoryFormat } from '../../../schemas/history.ts'
import { VITAL_SIGNS } from '../../../schemas/reading.ts'

/** Turns resources into text, slice by slice. */
export interface Writer<Resource> {
  readonly contentType: string
  readonly head: string
  /** @param isFirst - nothing was written behind the head */
  rows (resources: readonly Resource[], isFirst: boolean): string
  tail (next: string | null): string
}

const JSON_TYPE = 'application/json; charset=utf-8'
const NDJSON_TYPE = 'application/x-ndjson; charset=utf-8'
const CSV_TYPE = 'text/csv; charset=utf-8; header=present'

export function readingWriter (deviceId: string, format: HistoryFormat): Writer<HistoryRow> {
  if (format === 'csv') {
    return toCsv(['timestamp', ...VITAL_SIGNS, 'receivedAt'], ({ timeUs, vitals, receivedAtUs }) => {
      const fields = JSON.parse(vitals) as Record<string, unknown>
      return `${toSeconds(timeUs)},${VITAL_SIGNS.map((sign) => toCell(fields[sign])).join(',')},${toSeconds(receivedAtUs)}`
    })
  }
  return toJson(format, { deviceId }, ({ timeUs, vitals, receivedAtUs }) =>
    `{"timestamp":${toSeconds(timeUs)},"vitals":${vitals},"receivedAt":${toSeconds(receivedAtUs)}}`)
}

export function bucketWriter (deviceId: string, every: BucketName, format: HistoryFormat): Writer<Bucket> {
  if (format === 'csv') {
    return toCsv(['from', 'vital', 'count', 'min', 'max', 'mean', 'first', 'last'], ({ from, vitals }) =>
      vitals.map(([sign, { count, min, max, mean, first, last }]) =>
        `${from},${sign},${count},${min},${max},${toMean(mean)},${first},${last}`).join(CSV_END))
  }
  return toJson(format, { deviceId, every }, ({ from, to, count, vitals }) =>
    `{"from":${from},"to":${to},"count":${count},"vitals":{${vitals.map(toMember).join(',')}}}`)
}

/** Exact to the microsecond until the year 2255. */
const toSeconds = (unixUs: number) => unixUs / 1e6

/** The nearest double: `36.6000000000000000` is 36.6. A mean beyond all doubles stays as PostgreSQL printed it. */
function toMean (mean: string): string {
  const value = Number(mean)
  return Number.isFinite(value) ? String(value) : mean
}

const toMember = ([sign, { count, min, max, mean, first, last }]: readonly [string, SignSummary]) =>
  `"${sign}":{"count":${count},"min":${min},"max":${max},"mean":${toMean(mean)},"first":${first},"last":${last}}`

function toJson<Resource> (
  format: 'json' | 'ndjson', about: object, toLine: (resource: Resource) => string
): Writer<Resource> {
  if (format === 'ndjson') {
    return {
      contentType: NDJSON_TYPE,
      head: '',
      rows: (resources) => resources.map((resource) => `${toLine(resource)}\n`).join(''),
      tail: () => ''
    }
  }
  return {
    contentType: JSON_TYPE,
    head: `${JSON.stringify(about).slice(0, -1)},"resources":[`,
    rows: (resources, isFirst) => (isFirst || resources.length === 0 ? '' : ',') + resources.map(toLine).join(','),
    tail: (next) => `],"next":${JSON.stringify(next)}}`
  }
}

const CSV_END = '\r\n'

/** Nearly all cells are numbers, which need no quotes. Rows that were written past the gateway may hold any JSON. */
function toCell (value: unknown): string {
  if (typeof value === 'number') return String(value)
  return value === undefined ? '' : stringify([[value]], { escape_formulas: true, eof: false })
}

/** @param toLines - a line, or several, without the last end; none where it is empty */
function toCsv<Resource> (header: readonly string[], toLines: (resource: Resource) => string): Writer<Resource> {
  return {
    contentType: CSV_TYPE,
    head: header.join(',') + CSV_END,
    rows: (resources) => resources.map(toLines).filter((lines) => lines !== '').map((lines) => lines + CSV_END).join(''),
    tail: () => ''
  }
}
