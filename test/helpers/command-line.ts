import { type Command, CommanderError } from 'commander'
import { equip } from '../../scripts/command-line/equip.ts'
import { runProgram } from '../../scripts/command-line/program.ts'
import { type CommandSurroundings, type Surroundings, toOperatorConfig } from '../../scripts/command-line/surroundings.ts'

/** Surroundings without a terminal that keep the output. */
export function createSurroundings (variables: Readonly<Record<string, string | undefined>> = {}) {
  const texts = { stdout: '', stderr: '' }
  const surroundings: Surroundings = {
    print: (text) => { texts.stdout += `${text}\n` },
    tell: (text) => { texts.stderr += `${text}\n` },
    progress: { write: () => true },
    isColoured: false,
    isErrorColoured: false,
    width: 100,
    readVariables: () => variables
  }
  return { surroundings, texts }
}

/** Runs a command line of `vital-gateway` in this process, because a process of its own takes two seconds. */
export async function runCommandLine (args: readonly string[], variables: Readonly<Record<string, string | undefined>> = {}) {
  const { surroundings, texts } = createSurroundings(variables)
  const status = await runProgram(args, surroundings)
  return { status, ...texts }
}

/**
 * The options that a command reads from its command line.
 * @returns `null` when it printed its help instead
 * @throws `OPERATOR_USAGE`
 */
export async function parseCommand<T> (
  create: (run: (options: T) => Promise<void>) => Command, args: readonly string[]
): Promise<T | null> {
  const { surroundings } = createSurroundings()
  let parsed: T | null = null
  const command = create(async (options) => { parsed = options })
  equip(command, {
    ...surroundings, readConfig: () => toOperatorConfig(surroundings.readVariables), finish () {}
  } satisfies CommandSurroundings)
  try {
    await command.parseAsync(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
  }
  return parsed
}
