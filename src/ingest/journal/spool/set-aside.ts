/**
 * Readings that the target does not take even alone and with generous time, while it takes others. Each is kept for the
 * operator in a file of its own in the directory of the spool, so that it does not block the readings behind it. The
 * file is JSON; `reading` has the form that a device would send. These files do not count against the cap of the spool,
 * and are never replayed.
 */
import { hash } from 'node:crypto'
import { readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { namesDevice } from '../../../../db/erase/names-device.ts'
import { toPayload } from '../../reading-row.ts'
import type { SpooledSubmission } from './codec.ts'
import type { SpoolContext } from './segment.ts'
import { SpoolError, toSpoolError } from './spool-error.ts'
import { replaceFile } from './upkeep.ts'

/** Each file takes half a minute. So many files mean that the target is at fault, and not the readings. */
const SET_ASIDE_MAX = 1000
const NAME = /^aside-[0-9a-f]{32}\.json$/

export function isSetAside (name: string): boolean {
  return NAME.test(name)
}

/** The files of one spool. The caller runs one call at a time. */
export class SetAsideFiles {
  readonly #context: SpoolContext
  #count: number

  constructor (context: SpoolContext, count: number) {
    this.#context = context
    this.#count = count
  }

  /** Number of files, by the last count. */
  get count (): number {
    return this.#count
  }

  /** Counts again, because operators move files away and erasures delete some. If the disk fails, the old count stays. */
  async look (): Promise<void> {
    if (this.#count > 0) await this.#list().catch(() => {})
  }

  /**
   * Each try for one reading has the same name, so that a crash between two steps leaves one file.
   * @param unit - one reading, or one dead letter
   * @returns the name of the file, once it is durable
   * @throws `VITAL_SPOOL_FULL` also when there are too many files; `VITAL_SPOOL_FAILED`
   */
  async keep (unit: SpooledSubmission, why: string): Promise<string> {
    try {
      const { name, content } = toFile(unit, why)
      const names = await this.#list()
      if (this.#count >= SET_ASIDE_MAX && !names.includes(name)) {
        throw new SpoolError('VITAL_SPOOL_FULL', `${this.#count} readings are set aside already: find out why they are not ` +
          'taken, then move the files away')
      }
      await replaceFile(this.#context, name, content)
      if (!names.includes(name)) this.#count++
      return name
    } catch (error) {
      throw toSpoolError(error, 'setting a reading aside')
    }
  }

  async #list (): Promise<string[]> {
    const { directory, disk } = this.#context
    const names = (await disk.list(directory)).filter(isSetAside)
    this.#count = names.length
    return names
  }
}

function toFile (unit: SpooledSubmission, why: string): { readonly name: string, readonly content: Buffer } {
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
