/**
 * Whether the live page in dist/web was built from exactly these sources. It has sources, outputs and a stamp of its own: a
 * change of the page or of the rest builds that half alone. JavaScript, because nothing is compiled yet when it runs.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'

const OTHER_INPUTS = ['package-lock.json', 'scripts/build-page.js']

const toStamp = (root) => join(root, 'dist', '.page-stamp.json')

/** Files below a folder, relative to the root. */
function listFiles (root, folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name))).sort()
}

function hashSources (root) {
  const sum = createHash('sha256')
  const sources = listFiles(root, join('src', 'web')).filter((path) => !/\.(?:md|png)$/.test(path))
  for (const path of [...OTHER_INPUTS, ...sources]) sum.update(`${path}\0`).update(readFileSync(join(root, path))).update('\0')
  return sum.digest('hex')
}

export function isPageBuilt (root) {
  try {
    const { sum, outputs } = JSON.parse(readFileSync(toStamp(root), 'utf8'))
    return sum === hashSources(root) && outputs.every((path) => existsSync(join(root, path)))
  } catch {
    return false
  }
}

/** Called before the build: files of a failed build must not count. */
export const dropPageStamp = (root) => { rmSync(toStamp(root), { force: true }) }

/** Called after the build. */
export function stampPage (root) {
  writeFileSync(toStamp(root), JSON.stringify({ sum: hashSources(root), outputs: listFiles(root, join('dist', 'web')) }))
}
