/**
 * A reading that PostgreSQL refuses alone, in generous time, while it stores others. It is kept in its own
 * file in the directory of the spool, for the operator, so that the readings behind it are not blocked. The file is
 * JSON; `reading` has the form that a device would send. Such files are outside the cap, and never replayed.
 */
import { hash } from 'node:crypto'
import { readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { namesDevice } from '../../../../db/erase/names-device.ts'
import { toPayload } from '../../reading-row.ts'
import type { SpooledSubmission } from './codec.ts'
import { SpoolError } from './spool-error.ts'

/** Each file took half a minute. This number of files means that PostgreSQL is at fault, and not the readings. */
const SET_ASIDE_MAX = 1000
const NAME = /^aside-[0-9a-f]{32}\.json$/

export function isSetAside (name: string): boolean {
  return NAME.test(name)
}

/**
 * @param unit - one reading, or one dead letter
 * @returns the same name for each try, so that a crash between two steps leaves one file
 * @throws `VITAL_SPOOL_FULL` when there are too many already
 */
export function toSetAside (
  unit: SpooledSubmission, why: string, known: number
): { readonly name: string, readonly content: Buffer } {
  if (known >= SET_ASIDE_MAX) {
    throw new SpoolError('VITAL_SPOOL_FULL',
    `${known} readings are set aside already: see what PostgreSQL does with them`)
  }
  const [reading] = unit.readings
  const [letter] = unit.letters
  const body = reading === undefined
    ? `"letter":${JSON.stringify({ ...letter, payload: letter?.payload.toString('base64') })}`
    : `"receivedAt":${reading.receivedAtMs / 1000},"reading":${toPayload(reading)}`
  const { transport, clientId } = unit
  const device = reading?.device ?? letter?.device ?? null
  return {
    name: `aside-${hash('sha256', body).slice(0, 32)}.json`,
    content: Buffer.from(`{"why":${JSON.stringify(why)},${JSON.stringify({ transport, clientId, device }).slice(1, -1)},${body}}\n`)
  }
}

/** Removes the files of a device, and letters whose payload names it. A file that is moved away meanwhile counts as gone. */
export async function eraseSetAside (directory: string, device: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!isSetAside(name)) continue
    const path = join(directory, name)
    try {
      if (isOf(await readFile(path, 'utf8'), device)) await unlink(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
}

function isOf (content: string, device: string): boolean {
  const { device: own, letter } = JSON.parse(content) as { device: string | null, letter?: { payload: string } }
  return own === device || (letter !== undefined && namesDevice(Buffer.from(letter.payload, 'base64'), device))
}
