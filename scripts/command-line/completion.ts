import { Argument, Command } from 'commander'
import type { CommandSurroundings } from './surroundings.ts'

const NOTES = `
Examples:
  source <(vital-gateway completion bash)           in ~/.bashrc
  source <(vital-gateway completion zsh)            in ~/.zshrc, after compinit
  vital-gateway completion zsh > "\${fpath[1]}/_vital_gateway"

Exit status: 0; 2 for a wrong command line.`

/** `vital-gateway completion`. */
export function createCommand (surroundings: CommandSurroundings, loadProgram: () => Promise<Command>): Command {
  return new Command('completion')
    .description('Prints a script with which the shell completes commands, options and their values.')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh']))
    .addHelpText('after', NOTES)
    .action(async (shell: 'bash' | 'zsh') => {
      const program = await loadProgram()
      surroundings.print(shell === 'bash' ? toBash(listWords(program)) : toZsh(listWords(program)))
    })
}

/** The words before the one that is completed, without the program. */
const BASH_WORDS = '$' + '{COMP_WORDS[@]:1:COMP_CWORD-1}'
const ZSH_WORDS = '$' + '{(@)words[2,CURRENT-1]}'

/** Words that may follow one command. */
interface Words {
  /** Names from the program down, as in `vital-gateway credentials add`. */
  readonly path: string
  readonly words: readonly string[]
  /** Values of options that take one of a few. */
  readonly choices: ReadonlyArray<{ readonly option: string, readonly values: readonly string[] }>
  /** Options that take any other value: files are completed. */
  readonly valued: readonly string[]
}

function listWords (command: Command, above: readonly string[] = []): Words[] {
  const names = above.length === 0 ? [command.name()] : [command.name(), ...command.aliases()]
  return names.flatMap((name) => {
    const path = [...above, name]
    const help = command.createHelp()
    const options = help.visibleOptions(command).filter(({ long }) => long !== undefined && long !== null)
    const taking = options.filter((option) => !option.isBoolean())
    const own: Words = {
      path: path.join(' '),
      words: [
        ...command.commands.flatMap((subcommand) => [subcommand.name(), ...subcommand.aliases()]),
        ...command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices),
        ...options.map(({ long }) => long!)
      ],
      choices: taking.flatMap(({ long, argChoices }) => argChoices === undefined ? [] : [{ option: long!, values: argChoices }]),
      valued: taking.filter(({ argChoices }) => argChoices === undefined).map(({ long }) => long!)
    }
    return [own, ...command.commands.flatMap((subcommand) => listWords(subcommand, path))]
  })
}

/** Names have neither quotes nor blanks in them. */
function toCases (all: readonly Words[]): string {
  return all.map(({ path, words, choices, valued }) => [
    `    '${path}')`,
    `      words='${words.join(' ')}'`,
    '      case "$previous" in',
    ...choices.map(({ option, values }) => `        ${option}) words='${values.join(' ')}' ;;`),
    ...valued.length === 0 ? [] : [`        ${valued.join('|')}) words='' ;;`],
    '      esac ;;'
  ].join('\n')).join('\n')
}

/** The path is made of the words that are names of commands; what stands between them is values and operands. */
function toPathLoop (all: readonly Words[], words: string): string {
  const paths = all.map(({ path }) => `'${path}'`).filter((path) => path !== "'vital-gateway'").join('|')
  return `  for word in "${words}"; do
    case "$path $word" in
      ${paths}) path="$path $word" ;;
    esac
  done`
}

function toBash (all: readonly Words[]): string {
  return `# Completion of vital-gateway for bash: source <(vital-gateway completion bash)
_vital_gateway () {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path=vital-gateway words='' word
${toPathLoop(all, BASH_WORDS)}
  case "$path" in
${toCases(all)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _vital_gateway vital-gateway`
}

function toZsh (all: readonly Words[]): string {
  return `#compdef vital-gateway
# Completion of vital-gateway for zsh: source <(vital-gateway completion zsh), after compinit
_vital_gateway () {
  local current="\${words[CURRENT]}" previous="\${words[CURRENT-1]}" path_=vital-gateway candidates='' word
${toPathLoop(all, ZSH_WORDS).replaceAll('"$path ', '"$path_ ').replaceAll('path="', 'path_="')}
  case "$path_" in
${toCases(all).replaceAll("words='", "candidates='")}
  esac
  if [[ -n "$candidates" ]] && compadd -- \${=candidates}; then return; fi
  _files
}
if [[ "$funcstack[1]" = _vital_gateway ]]; then _vital_gateway "$@"; else compdef _vital_gateway vital-gateway; fi`
}
