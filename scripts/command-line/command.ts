import type { ParseArgsConfig } from 'node:util'
import { type Config, readEnvironment } from '../../src/config/config.ts'
import { parseArgsOnce } from './arguments.ts'
import { OperatorError } from './operator-error.ts'
import { type Print, toOperatorConfig } from './surroundings.ts'

export { OperatorError, type Print, toOperatorConfig }

/** @throws `OPERATOR_USAGE` */
export function parseArguments<T extends ParseArgsConfig> (config: T) {
  try {
    return parseArgsOnce(config)
  } catch (cause) {
    throw new OperatorError('OPERATOR_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** What a script is given. */
export interface OperatorOptions {
  readonly args: readonly string[]
  /** The gateway's own configuration. @throws `OPERATOR_FAILED` */
  readonly readConfig: () => Config
  readonly print: Print
  /** What a program that takes stdout must not see, on stderr. */
  readonly tell: Print
}

/**
 * Runs a script with the command line, the environment and `.env`, and sets the exit status: 2 for wrong usage, 1 for a
 * failure. Anything else is a defect and crashes.
 */
export async function runOperatorScript (name: string, run: (options: OperatorOptions) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await run({
      args: process.argv.slice(2),
      readConfig: () => toOperatorConfig(readEnvironment),
      print: (text) => { process.stdout.write(`${text}\n`) },
      tell: (text) => { process.stderr.write(`${text}\n`) }
    })
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error
    const isUsage = error.code === 'OPERATOR_USAGE'
    process.stderr.write(`${name}: ${error.message}\n${isUsage ? `See npm run ${name} -- --help\n` : ''}`)
    process.exitCode = isUsage ? 2 : 1
  }
}
