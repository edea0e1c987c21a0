import { parse } from 'csv-parse/sync'

/** One second of a recording; `null` where the monitor gave nothing. */
export interface Sample {
  /** Since the start of the recording; may begin below zero. */
  readonly timeS: number
  /** Of the ECG, beats per minute. */
  readonly heartRate: number | null
  /** Of the pulse oximeter, beats per minute. */
  readonly pulseRate: number | null
  /** Breaths per minute. */
  readonly respiratoryRate: number | null
  /** Percent. */
  readonly spo2: number | null
}

/** A recording's text is not the CSV of the BIDMC numerics; the message names file and line. */
export class RecordingError extends Error {
  readonly code = 'RECORDING_INVALID'
}

const COLUMNS = { timeS: 'Time [s]', heartRate: 'HR', pulseRate: 'PULSE', respiratoryRate: 'RESP', spo2: 'SpO2' } as const

type Column = keyof typeof COLUMNS

/**
 * Reads the CSV of one BIDMC numerics file, in whatever order its columns come. `NaN` is nothing measured, `-0` is zero.
 * @param name - of the file, for the message
 * @throws `RECORDING_INVALID`: a column is missing, a value is not a number, or time does not advance
 * @see https://doi.org/10.13026/C2208R
 */
export function parseRecording (text: string, name: string): Sample[] {
  const [titles = [], ...rows] = parseRows(text, name)
  const places = Object.fromEntries(Object.entries(COLUMNS).map(([column, title]) => {
    const place = titles.indexOf(title)
    if (place === -1) throw new RecordingError(`${name}: the header has no column "${title}"`)
    return [column, place]
  })) as Record<Column, number>

  const samples: Sample[] = []
  for (const [index, cells] of rows.entries()) {
    const at = `${name}:${index + 2}`
    if (cells.length !== titles.length) throw new RecordingError(`${at}: ${cells.length} values under ${titles.length} columns`)
    const value = (column: Column) => parseValue(cells[places[column]] ?? '', `${at}: ${COLUMNS[column]}`)
    const timeS = value('timeS')
    const previous = samples.at(-1)
    if (timeS === null) throw new RecordingError(`${at}: the time is missing`)
    if (previous !== undefined && timeS <= previous.timeS) throw new RecordingError(`${at}: time does not advance`)
    samples.push({
      timeS,
      heartRate: value('heartRate'),
      pulseRate: value('pulseRate'),
      respiratoryRate: value('respiratoryRate'),
      spo2: value('spo2')
    })
  }
  return samples
}

function parseRows (text: string, name: string): string[][] {
  try {
    return parse(text, { relax_column_count: true, skip_empty_lines: true, trim: true })
  } catch (cause) {
    throw new RecordingError(`${name} is not CSV: ${(cause as Error).message}`, { cause })
  }
}

function parseValue (cell: string, at: string): number | null {
  const text = cell.trim()
  if (text === 'NaN') return null
  const value = Number(text)
  if (text === '' || !Number.isFinite(value)) throw new RecordingError(`${at} is not a number: "${text}"`)
  // Adding zero turns -0 into 0.
  return value + 0
}
