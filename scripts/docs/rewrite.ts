/**
 * Parts of the documents are written from the code. Each file of this folder makes some sections; this one puts them
 * between their markers. A description stands beside what it describes, or in a table object whose type makes the
 * compiler name what is missing.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attacksSections } from './attacks.ts'
import { chaosSections } from './chaos.ts'
import { configurationSections } from './configuration.ts'
import { httpErrorsSections } from './http-errors.ts'
import { limitsSections } from './limits.ts'
import { loginRefusalsSections } from './login-refusals.ts'
import { replaceSection, type Section } from './markdown.ts'
import { metricsSections } from './metrics.ts'
import { packetsSections } from './packets.ts'
import { packets5Sections } from './packets5.ts'
import { storageErrorsSections } from './storage-errors.ts'

/** Every section, in no particular order. @param root - of the repository */
export function createSections (root: string): Section[] {
  return [
    ...configurationSections(), ...metricsSections(), ...httpErrorsSections(), ...storageErrorsSections(),
    ...loginRefusalsSections(), ...packetsSections(), ...packets5Sections(), ...limitsSections(), ...attacksSections(root),
    ...chaosSections(root)
  ]
}

/** @returns the sections that differ from the code, as `file: name`; records of runs are left out */
export function staleSections (root: string): string[] {
  return createSections(root).filter(({ isRecord }) => isRecord !== true).filter((section) => {
    const text = readFileSync(join(root, section.file), 'utf8')
    return replaceSection(text, section) !== text
  }).map(({ file, name }) => `${file}: ${name}`)
}

/** Writes every section anew. @returns the files that changed */
export function rewriteSections (root: string): string[] {
  const changed = new Set<string>()
  for (const section of createSections(root)) {
    const path = join(root, section.file)
    const text = readFileSync(path, 'utf8')
    const rewritten = replaceSection(text, section)
    if (rewritten === text) continue
    writeFileSync(path, rewritten)
    changed.add(section.file)
  }
  return [...changed]
}
