import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { pino } from 'pino'
import type { Test } from 'tap'
import { startEmbeddedPostgres } from '../../db/embedded/server.ts'
import { LOADER, toProgram } from './program.ts'

export const logger = pino({ level: 'silent' })

/**
 * Why a test that becomes another user cannot run here, or `false`: only root may become another user, and a checkout or a
 * Node.js in root's home cannot be entered by one.
 */
export function whyNoOtherUser (): string | false {
  if (process.geteuid?.() !== 0) return 'needs root to become another user'
  for (const path of [import.meta.dirname, process.execPath]) {
    for (let dir = dirname(path); dir !== dirname(dir); dir = dirname(dir)) {
      if ((statSync(dir).mode & 0o001) === 0) return `other users cannot enter ${dir}: put the checkout and Node.js where they can`
    }
  }
  return false
}

export const clusterOf = (dataDir: string) => join(dataDir, 'postgres')

/** Starts a server that is stopped when the test ends. */
export async function startServer (t: Test, dataDir: string) {
  const server = await startEmbeddedPostgres({ dataDir, logger })
  t.teardown(() => server.stop())
  return server
}

export async function query (url: string, text: string): Promise<Array<Record<string, unknown>>> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

/** A gateway in a process of its own, to be killed. It may not have started its server yet. */
export function spawnChild (t: Test, dataDir: string, options: { uid?: number, gid?: number } = {}) {
  const child = spawn(process.execPath, [...LOADER, toProgram('test/helpers/embedded-child.ts'), dataDir],
    { ...options, stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => endChild(child))
  return child
}

/** The same, once its server runs. @throws Error when the process ends before */
export async function startChild (t: Test, dataDir: string, options: { uid?: number, gid?: number } = {}) {
  const child = spawnChild(t, dataDir, options)
  const exit = once(child, 'exit').then(([code]) => { throw new Error(`the child ended with ${code} before its server ran`) })
  const [line] = await Promise.race([once(child.stdout, 'data') as Promise<[Buffer]>, exit])
  exit.catch(() => {})
  return { child, started: JSON.parse(line.toString()) as { url: string, pid: number, account: string, error?: string } }
}

export async function endChild (child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}
