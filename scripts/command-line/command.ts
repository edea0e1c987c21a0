import type { ParseArgsConfig } from 'node:util'
import { type Config, createConfig, readEnvironment } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { parseArgsOnce } from './arguments.ts'

/** Something that the person at the terminal has to put right; its message says what. */
export class OperatorError extends Error {
  readonly code: 'OPERATOR_USAGE' | 'OPERATOR_FAILED'

  constructor (code: OperatorError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** @throws `OPERATOR_USAGE` */
export function parseArguments<T extends ParseArgsConfig> (config: T) {
  try {
    return parseArgsOnce(config)
  } catch (cause) {
    throw new OperatorError('OPERATOR_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** Text for a person or a program, on stdout; a line end is added. */
export type Print = (text: string) => void

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

/** @throws `OPERATOR_FAILED` for an environment that no gateway would start with */
export function toOperatorConfig (readVariables: () => Readonly<Record<string, string | undefined>>): Config {
  try {
    return createConfig(readVariables())
  } catch (cause) {
    if (cause instanceof ConfigError) throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
    throw cause
  }
}
