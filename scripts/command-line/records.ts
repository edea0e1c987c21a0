/**
 * Tables of a few columns in files that spreadsheets and scripts both read: CSV (RFC 4180, the first line names the
 * columns) and JSON lines (one object a line).
 */
import { CsvError, type Info, parse } from 'csv-parse/sync'
import { stringify } from 'csv-stringify/sync'
import { usageError } from './operator-error.ts'
import { toPrintable } from './printable.ts'

/** One line of a file: its number, and the text of each column that is not empty. */
export interface FileRecord {
  readonly line: number
  readonly values: Readonly<Record<string, string>>
}

/**
 * @param columns - those that are known; others are refused, because a misspelt one would be ignored unnoticed
 * @throws `OPERATOR_USAGE`, naming the line
 */
export function parseRecords (
  text: string, { file, columns }: { readonly file: string, readonly columns: readonly string[] }
): FileRecord[] {
  const content = text.replace(/^\uFEFF/, '')
  const fail = (line: number, why: string): never => { throw usageError(`${file}, line ${line}: ${why}`) }
  const records = content.trimStart().startsWith('{') ? parseJsonLines(content, fail) : parseCsv(content, columns, fail)
  for (const { line, values } of records) {
    for (const name of Object.keys(values)) if (!columns.includes(name)) fail(line, toUnknown(name, columns))
  }
  return records
}

/** Whether a file of this name holds JSON lines. */
export function isJsonLinesName (path: string): boolean {
  return /\.(?:jsonl|ndjson|json)$/i.test(path)
}

/** @returns the text of a file; a value with a comma, a quote or a line end is quoted in CSV */
export function formatRecords (rows: ReadonlyArray<readonly string[]>, { columns, isJsonLines }: {
  readonly columns: readonly string[]
  readonly isJsonLines: boolean
}): string {
  if (!isJsonLines) return stringify([columns, ...rows], { quoted_match: EDGED })
  return rows.map((row) => `${JSON.stringify(Object.fromEntries(columns.map((name, at) => [name, row[at] ?? ''])))}\n`).join('')
}

/** A spreadsheet drops a space at either end of a value that is not quoted. */
const EDGED = /^\s|\s$/

type Fail = (line: number, why: string) => never

function parseJsonLines (text: string, fail: Fail): FileRecord[] {
  const records: FileRecord[] = []
  for (const [index, source] of text.split('\n').entries()) {
    if (source.trim() === '') continue
    const line = index + 1
    const values: Record<string, string> = Object.create(null) as Record<string, string>
    for (const [name, value] of Object.entries(parseObject(source) ?? fail(line, 'is not a JSON object'))) {
      if (value === null || value === '') continue
      if (typeof value !== 'string') fail(line, `"${name}" must be a string`)
      values[name] = value as string
    }
    records.push({ line, values })
  }
  return records
}

function parseObject (source: string): object | null {
  try {
    const value: unknown = JSON.parse(source)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null
  } catch {
    return null
  }
}

const toUnknown = (name: string, columns: readonly string[]) => `there is no column "${toPrintable(name)}"; known are ${columns.join(', ')}`

function parseCsv (text: string, columns: readonly string[], fail: Fail): FileRecord[] {
  const [header, ...rows] = splitCsv(text, fail)
  if (header === undefined) return []
  const names = header.cells.map((name) => name.trim())
  for (const [at, name] of names.entries()) {
    if (!columns.includes(name)) {
      fail(header.line,
        name === '' ? `the header has no name for column ${at + 1}; known are ${columns.join(', ')}` : toUnknown(name, columns))
    }
    if (names.indexOf(name) !== at) fail(header.line, `the header names "${name}" twice`)
  }
  return rows.map(({ line, cells }) => {
    if (cells.length > names.length) fail(line, `has ${cells.length} columns, the first line names ${names.length}`)
    const values: Record<string, string> = Object.create(null) as Record<string, string>
    for (const [at, cell] of cells.entries()) if (cell !== '') values[names[at]!] = cell
    return { line, values }
  })
}

/** Rows that are not empty, with the line on which each ends. */
function splitCsv (text: string, fail: Fail): Array<{ line: number, cells: string[] }> {
  try {
    const rows = parse(text, {
      info: true, relax_column_count: true, skip_empty_lines: true
    }) as unknown as Array<{ info: Info, record: string[] }>
    return rows.map(({ info, record }) => ({ line: info.lines, cells: record }))
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    // The message of csv-parse quotes the value, which may be a password.
    return fail(Number(error['lines'] ?? 1), 'a quote is not closed, or stands within a value that is not quoted')
  }
}
