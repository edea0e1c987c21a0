import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { runCommandLine } from './command-line.ts'
import { connectClient, startGateway } from './gateway.ts'
import { createTestDatabase, createTestDir } from './postgres.ts'
import { LOADER, toProgram } from './program.ts'

const PROGRAM = toProgram('scripts/vital-gateway.ts')

/** Runs a command as a process of its own, as npm would: without a terminal, in `cwd`, with PATH and `variables` as environment. */
export async function runOperatorScript (
  t: Test, command: string, args: readonly string[], variables: Readonly<Record<string, string>>, cwd: string
) {
  const child = spawn(process.execPath, [...LOADER, PROGRAM, command, ...args], {
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

/** The same in this process, because a process of its own takes two seconds. */
export async function runOperated (command: string, args: readonly string[], variables: Readonly<Record<string, string>>) {
  return await runCommandLine([command, ...args], variables)
}

/** A gateway with a database of its own, and a command run beside it with its configuration. */
export async function startOperated (t: Test, command: string, variables: Record<string, string> = {}) {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: dir, ...variables })
  const run = (...args: string[]) => runOperated(command, args, {
    DATABASE_URL: connectionString, VITAL_HTTP_PORT: String(gateway.httpPort)
  })
  let client: Awaited<ReturnType<typeof connectClient>> | undefined
  const publish = async (topic: string, payload: string | Buffer) => {
    client ??= await connectClient(t, gateway.mqttPort, { clientId: 'bed-7' })
    await client.publishAsync(topic, payload, { qos: 1 })
  }
  return { ...gateway, dir, query, run, publish }
}
