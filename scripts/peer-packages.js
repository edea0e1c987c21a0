/**
 * Prints the directories of the optional peers and of all their dependencies, one per line, for the image: `npm ci
 * --omit=dev` leaves them out, and no option of npm installs them from the lockfile. JavaScript, as build.js.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const read = (path) => JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8'))

/** The directory of `name` for a package in `from`, found as Node finds it. */
function find (name, from) {
  for (let at = from; ; at = dirname(at)) {
    const path = join(at, 'node_modules', name)
    if (existsSync(join(ROOT, path))) return path
    if (at === '.') throw new Error(`${name} is not installed`)
  }
}

const found = new Set()
function visit (name, from) {
  const path = find(name, from)
  if (found.has(path)) return
  found.add(path)
  for (const dependency of Object.keys(read(path).dependencies ?? {})) visit(dependency, path)
}

for (const name of Object.keys(read('.').peerDependencies)) visit(name, '.')
process.stdout.write([...found].map((path) => `${path}\n`).join(''))
