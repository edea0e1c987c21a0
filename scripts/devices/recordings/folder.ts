import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseRecording, type Sample } from './recording.ts'

/** A recording and the device that it is played as. */
export interface Recording {
  readonly device: string
  readonly samples: readonly Sample[]
}

/** `bidmc_07_Numerics.csv` is the device `bidmc-07`; `null` for any other file. */
export function toDevice (fileName: string): string | null {
  const number = /^bidmc_(\d+)_Numerics\.csv$/.exec(fileName)?.[1]
  return number === undefined ? null : `bidmc-${number}`
}

/**
 * Reads every recording of a folder, in order of device; other files are left alone.
 * @throws `RECORDING_INVALID`, or the file system's error
 */
export async function readRecordings (folder: string): Promise<Recording[]> {
  const recordings: Recording[] = []
  for (const fileName of (await readdir(folder)).sort()) {
    const device = toDevice(fileName)
    if (device === null) continue
    recordings.push({ device, samples: parseRecording(await readFile(join(folder, fileName), 'utf8'), fileName) })
  }
  return recordings
}
