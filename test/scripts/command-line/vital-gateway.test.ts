/** The program as a process, as a shell, npm or a supervisor starts it. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readV8Flags } from '../../../scripts/harness/v8-flags.ts'
import { runCommandLine } from '../../helpers/command-line.ts'
import { takesSignal } from '../../helpers/gateway-process.ts'
import { runOperatorScript } from '../../helpers/operator.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { LOADER, ROOT, toProgram } from '../../helpers/program.ts'

const SOURCE = join(ROOT, 'scripts/vital-gateway.ts')

t.test('the first line of the program starts Node with the flags of V8, under the same process id', async (t) => {
  const [line = ''] = (await readFile(SOURCE, 'utf8')).split('\n', 1)
  const file = join(await createTestDir(t), 'program.cjs')
  await writeFile(file, `${line}\nprocess.stdout.write(JSON.stringify([process.pid, process.execArgv, process.argv.slice(2)]))\n`)
  await chmod(file, 0o755)
  const child = spawn(file, ['audit', '--json'], { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env['PATH'] } })
  const [output] = await Promise.all([child.stdout.toArray(), once(child, 'exit')])
  const [pid, flags, args] = JSON.parse(Buffer.concat(output as Buffer[]).toString()) as [number, string[], string[]]
  t.equal(pid, child.pid)
  t.strictSame(flags, readV8Flags())
  t.strictSame(args, ['audit', '--json'])
})

t.test('serve loads nothing of the other commands', async (t) => {
  const text = await readFile(SOURCE, 'utf8')
  t.strictSame([...text.matchAll(/^import .* from '(.*)'$/gm)].map(([, from]) => from), ['../src/process/node-version.ts'])
})

t.test('without a command, and with serve, the program runs a gateway, and ends with 0 at SIGTERM', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  await Promise.all([[], ['serve']].map(async (args) => {
    const dir = await createTestDir(t)
    const child = spawn(process.execPath, [...LOADER, toProgram('scripts/vital-gateway.ts'), ...args], {
      cwd: dir,
      env: {
        PATH: process.env['PATH'],
        DATABASE_URL: connectionString,
        VITAL_DATA_DIR: join(dir, 'data'),
        VITAL_MQTT_PORT: '0',
        VITAL_HTTP_PORT: '0'
      },
      stdio: ['ignore', 'pipe', 'inherit']
    })
    t.teardown(() => { child.kill('SIGKILL') })
    const exited = once(child, 'exit')
    await takesSignal({ child } as never, 15)
    for await (const chunk of child.stdout) if (String(chunk).includes('"msg":"ready"')) break
    child.kill('SIGTERM')
    t.same(await exited, [0, null], args.join(' '))
  }))
})

t.test('exit statuses and streams', async (t) => {
  const dir = await createTestDir(t)
  t.match(await runOperatorScript(t, 'help', [], {}, dir), { status: 0, stdout: /^Usage: vital-gateway/, stderr: '' })
  t.match(await runOperatorScript(t, 'audti', [], {}, dir), { status: 2, stdout: '', stderr: /Did you mean audit/ })
  await writeFile(join(dir, '.env'), 'VITAL_MQTT_PROT=1\n')
  t.match(await runOperatorScript(t, 'audit', [], {}, dir), { status: 1, stdout: '', stderr: /VITAL_MQTT_PROT is not a known name/ },
    '.env is read')
})

t.test('completion', async (t) => {
  const dir = await createTestDir(t)
  const complete = async (shell: 'bash' | 'zsh') => {
    const { status, stdout } = await runCommandLine(['completion', shell])
    t.equal(status, 0)
    await writeFile(join(dir, shell), stdout)
    return stdout
  }
  await complete('bash')
  /** The completions that bash offers for the last word. */
  const offers = (...words: string[]) => {
    const list = ['vital-gateway', ...words].map((word) => `'${word}'`).join(' ')
    const script = `source ${join(dir, 'bash')}; COMP_WORDS=(${list}); COMP_CWORD=${words.length}; _vital_gateway; echo "\${COMPREPLY[*]}"`
    return spawnSync('bash', ['-c', script], { encoding: 'utf8' }).stdout.trim().split(' ')
  }
  t.strictSame(offers('au'), ['audit'])
  t.ok(offers('').includes('serve'))
  t.strictSame(offers('credentials', 'ro'), ['rotate'])
  t.strictSame(offers('credentials', 'add', 'ward-3', '--role', 'ad'), ['admin'])
  t.strictSame(offers('dead-letters', 'resend', '--pay'), ['--payload'])
  t.strictSame(offers('replay', '--resp-zero', ''), ['omit', 'send'])
  t.strictSame(offers('completion', 'z'), ['zsh'])
  t.strictSame(offers('simulate', '--ca', ''), [''], 'bash itself offers files')
  t.match(await complete('zsh'), /^#compdef vital-gateway\n/)
})
