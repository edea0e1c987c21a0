import { existsSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnSync } from 'node:child_process'
import { readTreeCpuS } from '../../harness/process-stat.ts'
import type { Supervisor } from './supervisor.ts'
import { type Target, untilGone } from './targets.ts'

/** Where packages and Homebrew put it; a user's PATH often leaves out sbin. */
const PLACES = ['/usr/sbin', '/usr/local/sbin', '/usr/bin', '/usr/local/bin', '/opt/homebrew/sbin']

const START_TIMEOUT_MS = 10_000

export const MOSQUITTO_HINT = 'Mosquitto was left out: it is not installed (apt install mosquitto, brew install mosquitto)'

/** Acknowledges out of memory and stores nothing, as the bare broker does. It has no log and no limits of its own. */
const toConfiguration = (port: number) => `listener ${port} 127.0.0.1
allow_anonymous true
persistence false
log_dest none
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
`

/** The installed Mosquitto, and its version; `null` where there is none. */
export function findMosquitto (): { readonly file: string, readonly version: string } | null {
  const file = PLACES.map((place) => join(place, 'mosquitto')).find(existsSync)
  if (file === undefined) return null
  const { stdout } = spawnSync(file, ['-h'], { encoding: 'utf8' })
  return { file, version: /version (\S+)/.exec(stdout)?.[1] ?? 'unknown' }
}

function pickPort (): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject).listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(address !== null && typeof address === 'object' ? address.port : 0))
    })
  })
}

function isListening (port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Mosquitto as a broker alone, on a free port of loopback. */
export async function startMosquitto (supervisor: Supervisor, file: string): Promise<Target> {
  const name = 'Mosquitto'
  const port = await pickPort()
  const dir = supervisor.createDir()
  writeFileSync(join(dir, 'mosquitto.conf'), toConfiguration(port))
  const child = supervisor.spawnProgram(file, ['-c', join(dir, 'mosquitto.conf')])
  const pid = child.pid ?? 0
  let stopping = false
  const gone = untilGone(child, name, () => stopping, () => '')
  const deadlineMs = performance.now() + START_TIMEOUT_MS
  while (!await Promise.race([isListening(port), gone])) {
    if (performance.now() > deadlineMs) throw new Error(`${name} did not listen within ${START_TIMEOUT_MS} ms`)
    await sleep(20)
  }
  return {
    name,
    pid,
    ports: { mqtt: port, http: 0, grpc: 0 },
    cpu: () => {
      const server = readTreeCpuS(pid)
      return server === null ? null : { server, database: 0 }
    },
    gone,
    tail: () => '',
    stop: async () => {
      stopping = true
      await supervisor.stop(child)
      supervisor.removeDir(dir)
    }
  }
}
