import { type Config, createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { OperatorError } from './operator-error.ts'

/** Text for a person or a program; a line end is added. */
export type Print = (text: string) => void

/** A stream that a progress bar is drawn on; without a terminal there are lines instead. */
export type ProgressStream = Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean }

/** What a command uses of its process. Tests pass their own, so that a command runs in their process. */
export interface Surroundings {
  /** To stdout. */
  readonly print: Print
  /** To stderr: text that a program reading stdout must not see. */
  readonly tell: Print
  /** Stderr. */
  readonly progress: ProgressStream
  /** Whether stdout, and stderr, show colours. */
  readonly isColoured: boolean
  readonly isErrorColoured: boolean
  /** Columns of the terminal. */
  readonly width: number
  /** The environment, with `.env` beneath it. @throws ConfigError for an `.env` that cannot be read */
  readonly readVariables: () => Readonly<Record<string, string | undefined>>
}

/** The {@link Surroundings} of one command. */
export interface CommandSurroundings extends Surroundings {
  /** The gateway's own configuration. @throws `OPERATOR_FAILED` */
  readonly readConfig: () => Config
  /** Sets the exit status; without a call it is 0. */
  readonly finish: (status: number) => void
}

/** @throws `OPERATOR_FAILED` for an environment that no gateway starts with */
export function toOperatorConfig (readVariables: Surroundings['readVariables']): Config {
  try {
    return createConfig(readVariables())
  } catch (cause) {
    if (cause instanceof ConfigError) throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
    throw cause
  }
}
