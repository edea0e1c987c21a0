import { type Command, Option } from 'commander'
import { usageError } from './operator-error.ts'
import type { CommandSurroundings } from './surroundings.ts'

/** An option that may be given several times; its values are gathered in the order given. */
export class RepeatableOption extends Option {
  constructor (flags: string, description: string) {
    super(flags, description)
    this.argParser((value: string, before: readonly string[] | undefined) => [...before ?? [], value])
  }
}

const BOLD = 1
const CYAN = 36

/**
 * Gives every command, at any depth, output to the surroundings, errors as usage errors, and `-h, --help`. It refuses
 * an option that takes one value and is given twice: commander would keep the last value and ignore the first.
 */
export function equip (command: Command, surroundings: CommandSurroundings): void {
  const { print, tell, isColoured, isErrorColoured, width } = surroundings
  const trimmed = (write: (text: string) => void) => (text: string) => { write(text.replace(/\n$/, '')) }
  command
    .helpOption('-h, --help', 'print this text')
    .enablePositionalOptions()
    .configureOutput({
      writeOut: trimmed(print),
      writeErr: trimmed(tell),
      getOutHelpWidth: () => width,
      getErrHelpWidth: () => width,
      getOutHasColors: () => isColoured,
      getErrHasColors: () => isErrorColoured,
      // The code that catches it prints it.
      outputError () {}
    })
    .configureHelp({
      styleTitle: (text) => paint(text, BOLD),
      styleCommandText: (text) => paint(text, CYAN),
      styleSubcommandTerm: (text) => paint(text, CYAN),
      styleOptionTerm: (text) => paint(text, CYAN),
      subcommandTerm: (subcommand) => [subcommand.name(), ...subcommand.aliases()].join(', '),
      showGlobalOptions: false
    })
    .exitOverride((error) => {
      if (error.exitCode === 0 || error.code === 'commander.help') throw error
      throw usageError(error.message.replace(/^error: /, ''), { cause: error })
    })
  if (command.commands.length > 0) command.helpCommand('help [command]', 'print the help of a command')
  refuseRepeats(command)
  for (const subcommand of command.commands) equip(subcommand, surroundings)
}

function refuseRepeats (command: Command): void {
  for (const option of command.options) {
    if (option.isBoolean() || option instanceof RepeatableOption) continue
    let isGiven = false
    command.on(`option:${option.name()}`, () => {
      if (isGiven) throw usageError(`${option.long} is given twice, and takes one value`)
      isGiven = true
    })
  }
}

/** Commander leaves the codes out where there are no colours. */
function paint (text: string, code: number): string {
  return `\u001b[${code}m${text}\u001b[0m`
}
