import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import t from 'tap'
import packageJson from '../../../package.json' with { type: 'json' }
import { equip, RepeatableOption } from '../../../scripts/command-line/equip.ts'
import { createProgram, listCommands, runProgram } from '../../../scripts/command-line/program.ts'
import { toOperatorConfig } from '../../../scripts/command-line/surroundings.ts'
import { readV8Flags } from '../../../scripts/harness/v8-flags.ts'
import { createSurroundings, parseCommand, runCommandLine } from '../../helpers/command-line.ts'

const COMMANDS = [
  'serve', 'doctor', 'credentials', 'dead-letters', 'audit', 'erase', 'rollups', 'backup', 'restore', 'api', 'sink', 'bridge', 'lake',
  'export', 'topics', 'sbom', 'play', 'simulate', 'completion'
]
/** Commands are named like their folders. */
const CLONE_MODULES = [
  'scripts/bench/command.ts', 'scripts/chaos/command.ts', 'scripts/fuzz/command.ts', 'scripts/compat/command.ts', 'scripts/docs/command.ts'
]
const IN_A_CLONE = CLONE_MODULES.map((path) => path.split('/')[1]!)

t.test('the list of commands, and each command\'s own help', async (t) => {
  const { status, stdout, stderr } = await runCommandLine(['--help'])
  t.equal(status, 0)
  t.equal(stderr, '')
  for (const name of [...COMMANDS, ...IN_A_CLONE]) t.match(stdout, new RegExp(`^ {2}${name}[ ,]`, 'm'), name)
  for (const name of [...COMMANDS, ...IN_A_CLONE]) {
    const help = await runCommandLine([name, '--help'])
    t.equal(help.status, 0, name)
    t.equal((await runCommandLine(['help', name])).stdout, help.stdout, `help ${name}`)
    t.match(help.stdout, new RegExp(`^Usage: vital-gateway ${name}`), name)
    t.match(help.stdout, /\nExamples?:\n/, name)
    t.match(help.stdout, /\nExit status: 0/, name)
    t.notOk(help.stdout.includes('\u001b'), 'no colours without a terminal')
    for (const line of help.stdout.split('\n')) t.ok(line.length <= 120, line)
  }
  t.equal((await runCommandLine(['replay', '--help'])).stdout, (await runCommandLine(['play', '--help'])).stdout, 'an alias')
})

t.test('the version', async (t) => {
  t.same(await runCommandLine(['--version']), { status: 0, stdout: `${packageJson.version}\n`, stderr: '' })
})

t.test('a wrong command line ends with 2 and suggests a near miss', async (t) => {
  const cases: Array<[string[], RegExp]> = [
    [['audti'], /^vital-gateway: unknown command 'audti'\n\(Did you mean audit\?\)\nSee vital-gateway --help\n$/],
    [['--verison'], /^vital-gateway: unknown option '--verison'\n\(Did you mean --version\?\)/],
    [['serve', 'now'], /^vital-gateway serve: too many arguments/],
    [['serve', '--port', '1'], /^vital-gateway serve: unknown option '--port'/],
    [['simulate', '--rate'], /^vital-gateway simulate: option '--rate <n>' argument missing\nSee vital-gateway simulate --help\n$/],
    [['simulate', '--rate', '1', '--rate', '2'], /^vital-gateway simulate: --rate is given twice, and takes one value\n/],
    [['simulate', '--rate', 'quick'], /^vital-gateway simulate: --rate must be a number from 0\.001 to 1000, not "quick"\n/],
    [
      ['play', '--resp-zero', 'maybe'],
      /^vital-gateway play: option '--resp-zero <how>' argument 'maybe' is invalid\. Allowed choices are omit, send\./
    ],
    [['completion'], /^vital-gateway completion: missing required argument 'shell'\n/],
    [['simulate', '--\u001b[31m'], /^vital-gateway simulate: unknown option '--\\u001b\[31m'/]
  ]
  for (const [args, message] of cases) {
    const { status, stdout, stderr } = await runCommandLine(args)
    t.equal(status, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, message)
  }
})

t.test('a wrong environment ends with 1', async (t) => {
  t.match(await runCommandLine(['audit'], { VITAL_MQTT_PROT: '1' }), {
    status: 1, stderr: /^vital-gateway audit: The environment is not valid:\n {2}VITAL_MQTT_PROT/
  })
})

t.test('a defect is thrown, not printed as a message', async (t) => {
  const { surroundings } = createSurroundings()
  await t.rejects(runProgram(['audit'], { ...surroundings, readVariables: () => { throw new TypeError('a defect') } }), TypeError)
})

t.test('colours for a terminal', async (t) => {
  const { surroundings, texts } = createSurroundings()
  await runProgram(['--help'], { ...surroundings, isColoured: true })
  t.ok(texts.stdout.includes('\u001b[36mserve'))
})

t.test('values of a repeatable option are collected; a switch may be given twice', async (t) => {
  const create = (run: (options: { device: string[], json: boolean }) => Promise<void>) => new Command('x')
    .addOption(new RepeatableOption('--device <id>', 'which')).option('--json').action(run)
  t.strictSame(await parseCommand(create, ['--device', 'a', '--json', '--device', 'b', '--json']), { device: ['a', 'b'], json: true })
})

t.test('only the named command is loaded', async (t) => {
  const { surroundings } = createSurroundings()
  const whole = { ...surroundings, readConfig: () => toOperatorConfig(surroundings.readVariables), finish () {} }
  const program = await createProgram(whole, new Set(['play']))
  t.strictSame(program.commands.filter(({ options }) => options.length > 0).map((command) => command.name()), ['play'])
  t.strictSame(listCommands(), [...COMMANDS, ...IN_A_CLONE])
  const command = new Command('bare')
  equip(command, whole)
  t.equal(command.options.length, 0)
})

t.test('the flags of V8 are in one place', (t) => {
  t.strictSame(readV8Flags(), ['--max-semi-space-size=32', '--heap-growing-percent=40', '--no-allocation-site-pretenuring'])
  const [line = ''] = readFileSync(join(import.meta.dirname, '../../../scripts/vital-gateway.ts'), 'utf8').split('\n', 1)
  t.ok(line.length < 127, 'Linux before 5.1 reads only 127 bytes of the line')
  t.notMatch(JSON.stringify(packageJson.scripts), /--max-semi-space|--heap-growing/)
  t.end()
})
