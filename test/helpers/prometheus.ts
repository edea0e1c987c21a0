import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'
import { until } from './until.ts'

/** Why a test is left out; `false` where it runs. */
export const NO_PROMETHEUS = ['prometheus', 'promtool'].every((program) => spawnSync(program, ['--version']).status === 0)
  ? false
  : 'Prometheus is not installed (apt-get install prometheus)'

/** @returns the output @throws Error with the output, when promtool does not exit with 0 */
export async function promtool (...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)('promtool', args).catch((error: { stdout: string, stderr: string }) => {
    throw new Error(`promtool ${args.join(' ')}: ${error.stdout}${error.stderr}`)
  })
  return stdout + stderr
}

export interface Sample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: number
}

export interface RunningPrometheus {
  /** @returns `data` of an answer of its API @throws Error with its error message */
  get<Data> (path: string): Promise<Data>
  /** The current values of an expression. */
  query (expr: string): Promise<Sample[]>
}

/** Prometheus on a port of its own, with a configuration file; ended when the test ends. */
export async function startPrometheus (t: Test, configFile: string): Promise<RunningPrometheus> {
  const dir = await createTestDir(t)
  const address = `127.0.0.1:${await freePort()}`
  const log: string[] = []
  const child = spawn('prometheus', [
    `--config.file=${configFile}`, `--storage.tsdb.path=${join(dir, 'data')}`, `--web.listen-address=${address}`, '--log.level=warn'
  ], { stdio: ['ignore', 'ignore', 'pipe'] })
  child.stderr.on('data', (chunk: Buffer) => { log.push(chunk.toString()) })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const get = async <Data>(path: string) => {
    const answer = await (await fetch(`http://${address}/api/v1/${path}`)).json() as { status: string, error?: string, data: Data }
    if (answer.status !== 'success') throw new Error(`${decodeURIComponent(path)}: ${answer.error}`)
    return answer.data
  }
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`Prometheus ended: ${log.join('')}`)
    return (await fetch(`http://${address}/-/ready`)).ok
  }, 'Prometheus to be ready')
  return {
    get,
    async query (expr) {
      const { result } = await get<{ result: Array<{ metric: Record<string, string>, value: [number, string] }> }>(
        `query?query=${encodeURIComponent(expr)}`)
      return result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value) }))
    }
  }
}
