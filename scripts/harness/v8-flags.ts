import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './compile.ts'

/**
 * V8's flags of the program in a checkout, from its first line, so that tests run it with the same flags. A checkout
 * from before the program has them in the start script of its package.json.
 */
export function readV8Flags (checkout = root): string[] {
  const program = join(checkout, 'scripts', 'vital-gateway.ts')
  const line = existsSync(program)
    ? readFileSync(program, 'utf8').split('\n', 1)[0]!
    : (JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as { scripts: { start: string } }).scripts.start
  return line.split(' ').filter((word) => word.startsWith('--'))
}
