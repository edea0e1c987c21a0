import { spawn } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { isServerProcess, listServerProcesses, readPostmasterPid } from '../../../db/embedded/server-process.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { clusterOf, endChild, query, spawnChild, startChild, startServer } from '../../helpers/embedded.ts'
import { until } from '../../helpers/until.ts'

t.setTimeout(120_000)

t.test('a server that is killed is started again, even while a backend holds its memory', async (t) => {
  const dataDir = await createTestDir(t)
  const { connectionString: url } = await startServer(t, dataDir)
  await query(url, 'create table kept as select 1 as answer')
  const pid = await readPostmasterPid(clusterOf(dataDir)) ?? 0
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  const { rows: [backend] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  process.kill(backend?.pid ?? 0, 'SIGSTOP')
  process.kill(pid, 'SIGKILL')
  await sleep(1500)
  t.equal(await isServerProcess(backend?.pid ?? 0, clusterOf(dataDir)), true, 'the backend is frozen')
  await t.rejects(query(url, 'select 1'), 'and no second server runs on its data')
  process.kill(backend?.pid ?? 0, 'SIGCONT')
  await until(async () => (await query(url, 'select answer from kept'))[0]?.['answer'] === 1, 'the server to be back')
  t.not(await readPostmasterPid(clusterOf(dataDir)), pid)
  await client.end().catch(() => {})
})

t.test('stop during a restart leaves nothing running', async (t) => {
  const dataDir = await createTestDir(t)
  const server = await startServer(t, dataDir)
  process.kill(await readPostmasterPid(clusterOf(dataDir)) ?? 0, 'SIGKILL')
  await sleep(300)
  await server.stop()
  await sleep(500)
  t.same(await listServerProcesses(clusterOf(dataDir)), [])
})

t.test('a server that outlived its killed gateway is used again, and stopped at the end', async (t) => {
  const dataDir = await createTestDir(t)
  const { child, started } = await startChild(t, dataDir)
  await query(started.url, 'create table kept as select 7 as answer')
  await endChild(child, 'SIGKILL')
  t.equal(await isServerProcess(started.pid, clusterOf(dataDir)), true, 'the server still runs')
  const server = await startServer(t, dataDir)
  t.equal(await readPostmasterPid(clusterOf(dataDir)), started.pid, 'and was not restarted')
  process.kill(started.pid, 'SIGKILL')
  await until(async () => (await query(started.url, 'select answer from kept')).length === 1, 'the adopted server to be restarted')
  await server.stop()
  t.same(await listServerProcesses(clusterOf(dataDir)), [])
})

t.test('a frozen server of an earlier run is replaced', { timeout: 60_000 }, async (t) => {
  const dataDir = await createTestDir(t)
  const { child, started } = await startChild(t, dataDir)
  await query(started.url, 'create table kept as select 7 as answer')
  await endChild(child, 'SIGKILL')
  for (const pid of await listServerProcesses(clusterOf(dataDir))) process.kill(pid, 'SIGSTOP')
  const server = await startServer(t, dataDir)
  t.not(await readPostmasterPid(clusterOf(dataDir)), started.pid)
  t.same(await query(server.connectionString, 'select answer from kept'), [{ answer: 7 }])
})

t.test('a pid file whose id was given to another process does not keep the server from starting', async (t) => {
  const dataDir = await createTestDir(t)
  const { child, started } = await startChild(t, dataDir)
  await query(started.url, 'create table kept as select 7 as answer')
  await endChild(child, 'SIGKILL')
  process.kill(started.pid, 'SIGKILL')
  await until(async () => (await listServerProcesses(clusterOf(dataDir))).length === 0, 'its processes to end')
  const path = join(clusterOf(dataDir), 'postmaster.pid')
  const lines = (await readFile(path, 'utf8')).split('\n')
  // Another process than this one, because PostgreSQL ignores the id of its own parent.
  const stranger = spawn('sleep', ['60'])
  t.teardown(() => stranger.kill())
  await writeFile(path, [stranger.pid, ...lines.slice(1)].join('\n'))
  const server = await startServer(t, dataDir)
  t.same(await query(server.connectionString, 'select answer from kept'), [{ answer: 7 }])
})

t.test('a gateway killed during initdb leaves a directory that starts', async (t) => {
  const dataDir = await createTestDir(t)
  const child = spawnChild(t, dataDir)
  await until(async () => {
    const unfinished = (await readdir(dataDir)).find((name) => name.startsWith('postgres.new-'))
    return unfinished !== undefined && (await readdir(join(dataDir, unfinished, 'cluster'))).includes('base')
  }, 'initdb to begin')
  await endChild(child, 'SIGKILL')
  t.same((await readdir(dataDir)).includes('postgres'), false)
  const server = await startServer(t, dataDir)
  t.same(await query(server.connectionString, 'select 1 as one'), [{ one: 1 }])
  t.same((await readdir(dataDir)).filter((name) => name.includes('.new')), [])
})
