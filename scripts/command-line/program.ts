/**
 * The commands of `vital-gateway`. A command is one module, loaded when it is named: `serve` loads nothing of the
 * others, and `audit` nothing of the bench. The program has the name and one line of each, for the list in `--help`.
 */
import { existsSync } from 'node:fs'
import { extname } from 'node:path'
import { Command, CommanderError } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { equip } from './equip.ts'
import { OperatorError } from './operator-error.ts'
import { CODE_ROOT, PACKAGE_ROOT } from './package-root.ts'
import { toPrintable } from './printable.ts'
import { type CommandSurroundings, type Surroundings, toOperatorConfig } from './surroundings.ts'

/** What the module of a command exports. */
export interface CommandModule {
  /** @param loadProgram - gives the program with the options of every command */
  readonly createCommand: (surroundings: CommandSurroundings, loadProgram: () => Promise<Command>) => Command
}

interface Entry {
  readonly name: string
  readonly alias?: string
  /** In the list of commands; the command's own help says more. */
  readonly summary: string
  readonly load: () => Promise<CommandModule>
  readonly isCloneOnly?: true
}

const ENTRIES: readonly Entry[] = [
  { name: 'serve', summary: 'run a gateway; the same as no command', load: () => import('../operate/serve.ts') },
  {
    name: 'doctor',
    summary: 'check configuration, database, disk, ports and certificates',
    load: () => import('../operate/doctor/command.ts')
  },
  { name: 'credentials', summary: 'add, list, rotate and revoke credentials', load: () => import('../operate/credentials/command.ts') },
  { name: 'dead-letters', summary: 'show, resend and discard refused payloads', load: () => import('../operate/dead-letters/command.ts') },
  { name: 'audit', summary: 'compare what was counted with what is stored', load: () => import('../operate/audit/command.ts') },
  { name: 'erase', summary: 'remove everything of a device', load: () => import('../operate/erase/command.ts') },
  { name: 'rollups', summary: 'tell how far averages are, and compute them again', load: () => import('../operate/rollups/command.ts') },
  { name: 'backup', summary: 'copy database and spool while traffic flows', load: () => import('../operate/backup/command.ts') },
  { name: 'restore', summary: 'make a data directory of a backup', load: () => import('../operate/backup/restore-command.ts') },
  { name: 'api', summary: 'answer reads alone; api openapi and api asyncapi print documents', load: () => import('../operate/api.ts') },
  { name: 'sink', summary: 'store what gateways wrote to Kafka in PostgreSQL', load: () => import('../operate/sink.ts') },
  { name: 'bridge', summary: 'take readings from an external MQTT 5 broker', load: () => import('../operate/bridge.ts') },
  { name: 'lake', summary: 'write what gateways wrote to Kafka to S3 as Parquet', load: () => import('../operate/lake/command.ts') },
  { name: 'export', summary: 'write what gateways wrote to Kafka to a time-series database', load: () => import('../operate/export.ts') },
  { name: 'topics', summary: 'make and check the topics of Kafka', load: () => import('../operate/topics/command.ts') },
  { name: 'sbom', summary: 'write a software bill of materials', load: () => import('../operate/sbom.ts') },
  { name: 'play', alias: 'replay', summary: 'publish recordings of bedside monitors', load: () => import('../devices/play.ts') },
  { name: 'simulate', summary: 'publish readings of made-up devices', load: () => import('../devices/simulate.ts') },
  { name: 'completion', summary: 'print completion for bash or zsh', load: () => import('./completion.ts') },
  ...[
    ['bench', 'measure the gateway beside its ceilings'],
    ['chaos', 'check that nothing acknowledged is lost under faults'],
    ['fuzz', 'send hostile traffic and check the gateway'],
    ['compat', 'try other versions of PostgreSQL and Node.js'],
    ['docs', 'write the reference tables of the documents']
  ].map(([name = '', summary = '']): Entry => ({ name, summary, load: () => importFromClone(name), isCloneOnly: true }))
]

const EXAMPLES = `
Examples:
  vital-gateway                                     run a gateway on this machine
  vital-gateway doctor                              what is wrong, and what to do
  vital-gateway credentials add ward-3 --role device > ward-3.secret
  vital-gateway simulate --devices 1000 --rate 1

Settings are environment variables, or lines of .env in the working directory; .env.example lists all.
Exit status: 0; 1 when it failed, or found something wrong; 2 for a wrong command line.`

/**
 * @param of - the commands whose own options are loaded; the others are known by name
 */
export async function createProgram (surroundings: CommandSurroundings, of: ReadonlySet<string>): Promise<Command> {
  const program = new Command('vital-gateway').enablePositionalOptions()
    .description(`${packageJson.description}\nVersion ${packageJson.version}.`)
    .version(packageJson.version, '--version', 'print the version')
    .usage('[command] [options]')
    .addHelpText('after', EXAMPLES)
  const loadProgram = () => createProgram(surroundings, new Set(listCommands()))
  for (const { name, alias, summary, load, isCloneOnly } of ENTRIES) {
    const command = of.has(name) ? (await load()).createCommand(surroundings, loadProgram) : new Command(name)
    if (alias !== undefined) command.alias(alias)
    program.addCommand(command.summary(summary).helpGroup(isCloneOnly ? 'In a clone of the repository:' : 'Commands:'))
  }
  equip(program, surroundings)
  return program
}

/** Names of all commands that can be run here. */
export function listCommands (): string[] {
  return ENTRIES.filter((entry) => entry.isCloneOnly === undefined || isInClone(entry)).map(({ name }) => name)
}

/**
 * Runs a command line.
 * @param args - without node and the script
 * @returns the exit status; faults of the operator have been printed
 * @throws a defect
 */
export async function runProgram (args: readonly string[], surroundings: Surroundings): Promise<number> {
  const named = findNamed(args)
  if (named?.isCloneOnly === true && !isInClone(named)) {
    surroundings.tell(`vital-gateway: ${named.name} needs a clone of the repository: run npm run ${named.name} there`)
    return 2
  }
  let status = 0
  try {
    const program = await createProgram({
      ...surroundings,
      readConfig: () => toOperatorConfig(surroundings.readVariables),
      finish: (given) => { status = given }
    }, new Set(named === undefined ? [] : [named.name]))
    await program.parseAsync(args.length === 0 ? ['serve'] : args, { from: 'user' })
    return status
  } catch (error) {
    // Help and the version are errors to commander; help without --help means that a command is missing.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (!(error instanceof OperatorError)) throw error
    const path = ['vital-gateway', ...named === undefined ? [] : [named.name]].join(' ')
    const isUsage = error.code === 'OPERATOR_USAGE'
    surroundings.tell(`${path}: ${toPrintable(error.message, '\n')}${isUsage ? `\nSee ${path} --help` : ''}`)
    return isUsage ? 2 : 1
  }
}

/** The command that a command line names, also within `help NAME`. */
function findNamed (args: readonly string[]): Entry | undefined {
  const [first, second] = args.filter((arg) => !arg.startsWith('-'))
  const name = first === 'help' ? second : first
  return ENTRIES.find((entry) => entry.name === name || (entry.alias !== undefined && entry.alias === name))
}

async function importFromClone (name: string): Promise<CommandModule> {
  return await import(toCloneUrl(name).href) as CommandModule
}

/** Not built and not packed: only a clone has these commands, and the packages that they need. */
function toCloneUrl (name: string): URL {
  return new URL(`../${name}/command${extname(import.meta.url)}`, import.meta.url)
}

/** `dist/` has parts of these commands once the bench was compiled beside it. */
const isInClone = ({ name }: Entry) => PACKAGE_ROOT === CODE_ROOT && existsSync(toCloneUrl(name))
