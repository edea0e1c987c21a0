/**
 * The readings of one plan, until its files are written: a table of DuckDB in memory. Beyond its memory limit DuckDB
 * moves rows to the disk. Files are written hour by hour, because `PARTITION_BY` would hold a row group of each of 168
 * hours in memory.
 *
 * Numbers are in columns of doubles. NaN stands for a missing number, because a null costs ten times as much and
 * readings hold only finite numbers. Microseconds until the year 2255 are exact.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBAppender } from '@duckdb/node-api'
import type { ReadingRow } from '../../db/rows.ts'
import type { IdentifiedReading } from '../kafka/reading-record.ts'
import { toCanonicalJson } from '../ingest/canonical-json.ts'
import { makeDirectory } from '../process/make-directory.ts'
import type { LakeLimits } from './limits.ts'
import type { DuckDbLibrary } from './load-packages.ts'
import { toCopy } from './parquet.ts'
import { toHour } from './plan.ts'

/** Fields that are columns of their own. */
const VITAL_COLUMNS = [
  'heartRateValue', 'breathRateValue', 'breathValue', 'pulseRateValue', 'bloodPressureSystolic', 'bloodPressureDiastolic', 'spo2Value',
  'temperatureValue'
] as const
const VITALS: ReadonlySet<string> = new Set(VITAL_COLUMNS)

const NUMBERS = ['hour', 'time', 'receivedAt', 'offset', ...VITAL_COLUMNS] as const
const TEXTS = ['device', 'id', 'otherVitals', 'transport', 'client'] as const
/** Rows of one chunk of DuckDB. */
const CHUNK_ROWS = 2048

/** Columns of a file, in this order. */
const SELECTED = [
  'device', 'make_timestamptz("time"::bigint) as "time"', ...VITAL_COLUMNS.map((name) => `nullif("${name}", 'NaN') as "${name}"`),
  'nullif("otherVitals", \'\') as "otherVitals"', 'make_timestamptz("receivedAt"::bigint) as "receivedAt"', 'id', 'transport',
  'nullif(client, \'\') as client', '"offset"::bigint as "offset"'
].join(', ')

/** A reading of the log, and its offset. */
export interface TableReading extends IdentifiedReading {
  readonly offset: number
}

/** Canonical JSON of the fields that have no column; empty: there are none. */
export function toOtherVitals (fields: ReadingRow['fields']): string {
  let others: Record<string, unknown> | null = null
  for (const name in fields) {
    if (VITALS.has(name) && typeof fields[name] === 'number') continue
    others ??= Object.create(null) as Record<string, unknown>
    others[name] = fields[name]
  }
  return others === null ? '' : toCanonicalJson(others)
}

export interface ReadingsTableOptions {
  readonly library: DuckDbLibrary
  /** A directory of the table's own, whose content is removed first. */
  readonly dir: string
  readonly limits: LakeLimits
}

export async function createReadingsTable ({ library, dir, limits }: ReadingsTableOptions) {
  await rm(dir, { recursive: true, force: true })
  makeDirectory(dir)
  const instance = await library.DuckDBInstance.create(':memory:', {
    memory_limit: `${limits.memoryBytesMax}B`,
    threads: '1',
    temp_directory: join(dir, 'spill'),
    preserve_insertion_order: 'false'
  })
  const connection = await instance.connect()
  const types = [...NUMBERS.map(() => library.DOUBLE), ...TEXTS.map(() => library.VARCHAR)]
  const numbers = NUMBERS.map(() => new Float64Array(CHUNK_ROWS))
  const texts = TEXTS.map((): string[] => [])
  const devices = new Set<string>()
  let appender: DuckDBAppender | null = null
  let chunkRows = 0
  let rows = 0

  function addChunk (): void {
    if (chunkRows === 0) return
    const chunk = library.DuckDBDataChunk.create(types, chunkRows)
    for (const [index, values] of numbers.entries()) {
      const vector = chunk.getColumnVector(index)
      for (let row = 0; row < chunkRows; row++) vector.setItem(row, values[row]!)
      vector.flush()
    }
    for (const [index, values] of texts.entries()) chunk.setColumnValues(NUMBERS.length + index, values)
    appender!.appendDataChunk(chunk)
    for (const values of texts) values.length = 0
    rows += chunkRows
    chunkRows = 0
  }

  function flush (): void {
    addChunk()
    appender?.closeSync()
    appender = null
  }

  return {
    /** Devices of the readings in the table. */
    devices,
    /** Empties the table. */
    async clear (): Promise<void> {
      chunkRows = rows = 0
      for (const values of texts) values.length = 0
      devices.clear()
      flush()
      await connection.run(`create or replace table readings (${NUMBERS.map((name) => `"${name}" double`).join(', ')}, ` +
        `${TEXTS.map((name) => `"${name}" varchar`).join(', ')})`)
      appender = await connection.createAppender('readings')
    },
    add ({ row, id, transport, clientId, offset }: TableReading): void {
      numbers[0]![chunkRows] = toHour(row.timeUs)
      numbers[1]![chunkRows] = row.timeUs
      numbers[2]![chunkRows] = Math.round(row.receivedAtMs * 1000)
      numbers[3]![chunkRows] = offset
      for (let index = 0; index < VITAL_COLUMNS.length; index++) {
        const value = row.fields[VITAL_COLUMNS[index]!]
        numbers[4 + index]![chunkRows] = typeof value === 'number' ? value : NaN
      }
      texts[0]!.push(row.device)
      texts[1]!.push(id)
      texts[2]!.push(toOtherVitals(row.fields))
      texts[3]!.push(transport)
      texts[4]!.push(clientId ?? '')
      devices.add(row.device)
      if (++chunkRows === CHUNK_ROWS) addChunk()
    },
    /** Removes the readings of a device that were added so far. */
    async forget (device: string): Promise<void> {
      if (!devices.delete(device)) return
      flush()
      rows -= (await connection.run('delete from readings where device = $1', [device])).rowsChanged
      appender = await connection.createAppender('readings')
    },
    /** Called after the last reading was added. @returns the hours of the readings, ascending */
    async hours (): Promise<number[]> {
      flush()
      const found = await connection.runAndReadAll('select distinct "hour" from readings order by 1')
      return found.getRows().map(([hour]) => Number(hour))
    },
    /**
     * Writes the readings of one hour, each once, and an empty file if there are none.
     * @returns how many were written
     */
    async writeHour (hour: number, path: string): Promise<number> {
      const query = `select ${SELECTED} from (select distinct on (id) * from readings where "hour" = ${hour} order by "offset")`
      return (await connection.run(toCopy(query, path, limits))).rowsChanged
    },
    /** Writes a file without readings: the same bytes each time. */
    async writeEmpty (path: string): Promise<void> {
      await this.clear()
      await this.writeHour(0, path)
    },
    /** Also used to rewrite files. */
    connection,
    get rows () { return rows + chunkRows },
    /** Ends a running query with an error. */
    interrupt (): void { connection.interrupt() },
    async close (): Promise<void> {
      flush()
      connection.closeSync()
      instance.closeSync()
      await rm(dir, { recursive: true, force: true })
    }
  }
}

export type ReadingsTable = Awaited<ReturnType<typeof createReadingsTable>>
