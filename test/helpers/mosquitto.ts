import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'
import { until } from './until.ts'

/** Debian installs it in a directory that only root's PATH has. */
const PATH = `${process.env['PATH']}:/usr/sbin`

/** Why a test is left out; `false` where it runs. */
export const NO_MOSQUITTO = /version 2\./.test(spawnSync('mosquitto', ['-h'], { env: { PATH } }).stdout?.toString() ?? '')
  ? false
  : 'Mosquitto 2 is not installed (apt-get install mosquitto)'

export interface RunningMosquitto {
  readonly port: number
  readonly url: string
  /** Holds its configuration, its log and its persistence file. */
  readonly dir: string
  freeze (): void
  thaw (): void
  /** Makes it write its state to its disk. Settles when it has. */
  save (): Promise<void>
  /** Ends it with SIGKILL. */
  kill (): Promise<void>
  /** Starts it again on the same port, with the data on its disk. */
  start (): Promise<void>
}

/** With these settings it keeps every message that it acknowledged, as long as it runs. */
const SETTINGS = ['persistence true', 'max_queued_messages 0', 'max_inflight_messages 0']

/** A Mosquitto of its own on loopback, ended with the test. @param settings - more lines of its configuration */
export async function startMosquitto (t: Test, settings: readonly string[] = ['allow_anonymous true']): Promise<RunningMosquitto> {
  const dir = await createTestDir(t)
  // Started as root, Mosquitto becomes another user.
  await chmod(dir, 0o777)
  const port = await freePort()
  const file = join(dir, 'mosquitto.conf')
  const log = `log_dest file ${join(dir, 'log')}`
  await writeFile(file, [`listener ${port} 127.0.0.1`, `persistence_location ${dir}/`, log, ...SETTINGS, ...settings, ''].join('\n'))
  let child: ChildProcess | null = null
  const isRunning = () => child !== null && child.exitCode === null && child.signalCode === null

  async function start (): Promise<void> {
    child = spawn('mosquitto', ['-c', file], { stdio: 'ignore', env: { ...process.env, PATH } })
    await until(async () => {
      if (!isRunning()) throw new Error('Mosquitto ended')
      const socket = connect(port, '127.0.0.1')
      try {
        await once(socket, 'connect')
        return true
      } finally {
        socket.destroy()
      }
    }, 'Mosquitto listens')
  }
  async function kill (): Promise<void> {
    if (!isRunning()) return
    const exited = once(child!, 'exit')
    child!.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  await start()
  return {
    port,
    url: `mqtt://127.0.0.1:${port}`,
    dir,
    start,
    kill,
    freeze () { child?.kill('SIGSTOP') },
    thaw () { child?.kill('SIGCONT') },
    async save () {
      const path = join(dir, 'mosquitto.db')
      const before = (await stat(path).catch(() => null))?.mtimeMs
      child!.kill('SIGUSR1')
      await until(async () => (await stat(path)).mtimeMs !== before, 'Mosquitto to save')
    }
  }
}
