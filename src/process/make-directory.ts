import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes a directory for its owner alone, and those above it, one by one from the first that is missing. The recursive
 * `mkdir` of Node.js 20 to 24 never ends where the system answers ENOENT although the parent is there, as below `/proc`.
 * @returns the first that was made, absolute; `null`: it was there
 * @throws the system's error, with the path
 */
export function makeDirectory (directory: string): string | null {
  const paths = [resolve(directory)]
  while (!existsSync(dirname(paths[0]!))) paths.unshift(dirname(paths[0]!))
  const made = paths.filter(makeOne)
  return made[0] ?? null
}

/** @returns whether it was not there */
function makeOne (path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 })
    return true
  } catch (error) {
    if (isDirectory(path)) return false
    throw error
  }
}

function isDirectory (path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}
