import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import type { Test } from 'tap'
import type { BrokerOptions } from '../../broker/broker.ts'
import { createCluster, type RedisCluster } from '../../broker/cluster/create-cluster.ts'
import type { ClusterLimits } from '../../broker/cluster/limits.ts'
import { durable, startBroker, type TestBroker } from './broker.ts'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'
import { until } from './until.ts'

/** Why a test is left out; `false` where it runs. */
export const NO_REDIS = spawnSync('redis-server', ['--version']).status === 0
  ? false
  : 'Redis is not installed (apt-get install redis-server)'

export interface RunningRedis {
  readonly port: number
  readonly url: string
  /** For looking at its keys. */
  readonly client: Redis
  freeze (): void
  thaw (): void
  /** Ends it with SIGKILL. */
  kill (): Promise<void>
  /** Starts it again on the same port. */
  start (options?: { readonly empty?: boolean }): Promise<void>
}

/** A redis-server of its own, ended with the test. @param args - of its command line */
export async function startRedis (t: Test, args: readonly string[] = []): Promise<RunningRedis> {
  const dir = await createTestDir(t)
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let child: ChildProcess | null = null
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => 50, maxRetriesPerRequest: 2 })
  client.on('error', () => {})

  async function start ({ empty = false }: { readonly empty?: boolean } = {}): Promise<void> {
    if (empty) await rm(join(dir, 'appendonlydir'), { recursive: true, force: true })
    child = spawn('redis-server', [
      '--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes', ...args
    ], { stdio: 'ignore' })
    await until(async () => {
      if (child!.exitCode !== null) throw new Error('redis-server ended')
      return await isAnswering(port)
    }, 'Redis answers')
  }
  async function kill (): Promise<void> {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(async () => {
    client.disconnect()
    await kill()
  })
  await start()
  await client.connect()
  return {
    port, url, client, start, kill, freeze () { child?.kill('SIGSTOP') }, thaw () { child?.kill('SIGCONT') }
  }
}

async function isAnswering (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    socket.write('PING\r\n')
    const [answer] = await once(socket, 'data') as [Buffer]
    // Redis with a password answers that one is needed.
    return /^(?:\+PONG|-NOAUTH)/.test(answer.toString())
  } finally {
    socket.destroy()
  }
}

/** A proxy to Redis that can be cut. */
export interface Cable {
  readonly url: string
  cut (): void
  mend (): void
  /** New connections lead to another port. */
  lead (port: number): void
  /** Holds the answer to a command, and everything behind it on that connection, until {@link letGo}. */
  holdAnswerTo (isMeant: (command: string) => boolean): void
  readonly isHolding: boolean
  letGo (): void
}

export async function startCable (t: Test, port: number): Promise<Cable> {
  let target = port
  /** Each socket with the socket at the other end. */
  const sockets = new Map<Socket, Socket>()
  let isCut = false
  let isMeant: (command: string) => boolean = () => false
  let held: Socket | null = null
  const server = createServer((socket) => {
    if (isCut) {
      socket.destroy()
      return
    }
    const other = connect(target, '127.0.0.1')
    for (const [one, two] of [[socket, other], [other, socket]] as const) {
      sockets.set(one, two)
      one.on('error', () => {}).on('close', () => {
        sockets.delete(one)
        two.destroy()
      }).pipe(two)
    }
    socket.on('data', (chunk) => {
      if (held !== null || !isMeant(chunk.toString('latin1'))) return
      held = other
      other.unpipe(socket)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    isCut = true
    for (const socket of sockets.keys()) socket.destroy()
  }
  t.teardown(() => {
    cut()
    server.close()
  })
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    mend () { isCut = false },
    lead (given) { target = given },
    holdAnswerTo (given) { isMeant = given },
    get isHolding () { return held !== null },
    letGo () {
      isMeant = () => false
      const answers = held
      held = null
      if (answers !== null) answers.pipe(sockets.get(answers)!)
    }
  }
}

/** Shorter times than those of a gateway, so that a test need not wait for seconds. */
export const QUICK_LIMITS: Partial<ClusterLimits> = {
  leaseMs: 800,
  renewIntervalMs: 150,
  commandTimeoutMs: 500,
  connectTimeoutMs: 500,
  blockMs: 200,
  interestTimeoutMs: 2000,
  claimTimeoutMs: 4000
}

export interface ClusteredBroker extends TestBroker {
  readonly cluster: RedisCluster
}

let brokers = 0

/** One of several brokers on a Redis. */
export async function startClustered (
  t: Test, url: string, options: Partial<BrokerOptions> & { clusterLimits?: Partial<ClusterLimits> } = {}
): Promise<ClusteredBroker> {
  const { clusterLimits, ...brokerOptions } = options
  const log: TestBroker['log'] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => { log.push(JSON.parse(line)) } })
  const cluster = createCluster({ url, id: `g${++brokers}`, limits: { ...QUICK_LIMITS, ...clusterLimits }, logger })
  const started = await startBroker(t, { answer: durable, cluster, ...brokerOptions })
  return { ...started, log, cluster }
}
