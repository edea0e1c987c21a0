import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { root, transpile } from '../harness/compile.ts'

const ROOMS = ['schemas', 'broker', 'db', 'src', 'scripts/chaos', 'scripts/fuzz', 'scripts/harness'] as const

/** Entry files of a run's own copy of the program. */
export interface Program {
  readonly gateway: string
  /** Loaded before it. */
  readonly preload: string
  readonly attacker: string
  readonly publisher: string
  readonly reader: string
}

/**
 * Copies the program, types stripped, so that neither an edit nor a build meanwhile changes what is
 * under test, and so that a bug can be planted in the copy.
 */
export function copyProgram (dir: string): Program {
  const app = join(dir, 'app')
  const dist = join(app, 'dist')
  mkdirSync(dist, { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'))
  for (const place of [app, dist]) cpSync(join(root, 'package.json'), join(place, 'package.json'))
  for (const room of ROOMS) transpile(join(root, room), join(dist, room))
  const scripts = join(dist, 'scripts')
  return {
    gateway: join(dist, 'src', 'main.js'),
    preload: join(scripts, 'fuzz', 'checks', 'collect-garbage.js'),
    attacker: join(scripts, 'fuzz', 'sessions', 'attacker.js'),
    publisher: join(scripts, 'harness', 'devices', 'publisher.js'),
    reader: join(scripts, 'fuzz', 'checks', 'reader.js')
  }
}
