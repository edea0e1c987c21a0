import { join } from 'node:path'

/** The checkout, or its compiled copy, in which `npm test` runs. */
export const ROOT = join(import.meta.dirname, '../..')

const isCompiled = import.meta.filename.endsWith('.js')

/** Arguments with which Node.js runs a program as it runs this test: none when it is compiled. */
export const LOADER: readonly string[] = isCompiled ? [] : [`--import=${import.meta.resolve('tsx')}`]

/** @returns the absolute path of a program of ours, in the form that {@link LOADER} runs */
export function toProgram (path: `${string}.ts`): string {
  return join(ROOT, isCompiled ? path.replace(/ts$/, 'js') : path)
}
