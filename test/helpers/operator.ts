import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { OperatorOptions } from '../../scripts/command-line/command.ts'
import { OperatorError } from '../../scripts/command-line/operator-error.ts'
import { toOperatorConfig } from '../../scripts/command-line/surroundings.ts'
import { connectClient, startGateway } from './gateway.ts'
import { createTestDatabase, createTestDir } from './postgres.ts'

const ROOT = join(import.meta.dirname, '../..')

/** Runs an operator's script to its end as npm would, without a terminal, in `cwd` and with nothing in the environment but `variables`. */
export async function runOperatorScript (
  t: Test, script: 'dead-letters' | 'audit' | 'backup' | 'compat' | 'credentials' | 'erase' | 'restore' | 'sbom', args: readonly string[], variables: Readonly<Record<string, string>>, cwd: string
) {
  const child = spawn(process.execPath, [`--import=${import.meta.resolve('tsx')}`, ...script === 'sbom' ? [join(ROOT, 'scripts/vital-gateway.ts'), script] : [join(ROOT, 'scripts', `${script}.ts`)], ...args], {
    cwd, env: { PATH: process.env['PATH'], ...variables }, stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => { child.kill('SIGKILL') })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const [status] = await once(child, 'close') as [number | null]
  return { status, stdout, stderr }
}

/** The same in this process, for a process costs two seconds. */
export async function runOperated (
  script: (options: OperatorOptions) => Promise<number>, args: readonly string[], variables: Readonly<Record<string, string>>
) {
  let stdout = ''
  let stderr = ''
  try {
    const status = await script({
      args,
      readConfig: () => toOperatorConfig(() => variables),
      print: (text) => { stdout += `${text}\n` },
      tell: (text) => { stderr += `${text}\n` }
    })
    return { status, stdout, stderr }
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error
    return { status: error.code === 'OPERATOR_USAGE' ? 2 : 1, stdout, stderr: stderr + error.message }
  }
}

/** A gateway with a database of its own, and a script run beside it with its configuration. */
export async function startOperated (t: Test, script: (options: OperatorOptions) => Promise<number>, variables: Record<string, string> = {}) {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: dir, ...variables })
  const run = (...args: string[]) => runOperated(script, args, { DATABASE_URL: connectionString, VITAL_HTTP_PORT: String(gateway.httpPort) })
  let client: Awaited<ReturnType<typeof connectClient>> | undefined
  const publish = async (topic: string, payload: string | Buffer) => {
    client ??= await connectClient(t, gateway.mqttPort, { clientId: 'bed-7' })
    await client.publishAsync(topic, payload, { qos: 1 })
  }
  return { ...gateway, dir, query, run, publish }
}
