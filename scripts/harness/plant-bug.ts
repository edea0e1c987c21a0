import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A defect of the gateway: one replacement in one file. */
export interface PlantedBug {
  /** Its path in the repository. */
  readonly file: string
  readonly find: string
  readonly put: string
}

/** Plants a bug in a run's copy of the program. @throws when its place is not found */
export function plantBug (dist: string, { file, find, put }: PlantedBug): void {
  const path = join(dist, file.replace(/ts$/, 'js'))
  const text = readFileSync(path, 'utf8')
  if (!text.includes(find)) throw new Error(`${file} has changed: the place of a planted bug is not found: ${find}`)
  writeFileSync(path, text.replace(find, () => put))
}
