import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { delimiter } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectAsync } from 'mqtt'
import { root } from '../harness/compile.ts'

const READY_TIMEOUT_MS = 120_000

export interface QuickStartOptions {
  readonly dataDir: string
  /** `null`: the embedded one. */
  readonly databaseUrl: string | null
  /** Directory of the Node.js to use; `null`: the one that runs this. */
  readonly nodeDir: string | null
}

/**
 * Does the README's quick start: `npm start`, one reading published with QoS 1, read over HTTP, SIGTERM.
 * @returns what was wrong, or `null`
 */
export async function quickStart (options: QuickStartOptions): Promise<string | null> {
  const gateway = startGateway(options)
  try {
    const ended = gateway.exited.then((status) => { throw new Error(`it ended with ${status}`) })
    const ports = await Promise.race([gateway.ready, ended, overdue()])
    ended.catch(() => {})
    if (ports === null) return `it was not ready in time: ${gateway.output().slice(-2000)}`
    const client = await connectAsync(`mqtt://127.0.0.1:${ports.mqtt}`)
    const reading = { timestamp: Math.floor(Date.now() / 1000), heartRateValue: 61 }
    await client.publishAsync('vital/ward-3', JSON.stringify(reading), { qos: 1 })
    await client.endAsync()
    const answer = await fetch(`http://127.0.0.1:${ports.http}/vital-data/ward-3`)
    const { heartRate } = await answer.json() as { heartRate?: number }
    if (heartRate !== 61) return `GET answered ${answer.status} with heart rate ${heartRate}`
    gateway.stop()
    const status = await gateway.exited
    return status === 0 ? null : `after SIGTERM it ended with ${status}`
  } catch (error) {
    return `${(error as Error).message}: ${gateway.output().slice(-2000)}`
  } finally {
    gateway.stop()
    await gateway.exited
  }
}

/** @returns what was wrong, or `null` when the start ended with the sentence */
export async function refusedStart (options: QuickStartOptions, sentence: RegExp): Promise<string | null> {
  const gateway = startGateway(options)
  const status = await Promise.race([gateway.exited, gateway.ready.then(() => 'ready' as const), overdue()])
  gateway.stop()
  await gateway.exited
  if (typeof status !== 'number' || status === 0) return `it was to refuse the start, and came to ${status}`
  if (sentence.test(gateway.output())) return null
  return `it ended with ${status} and without the sentence: ${gateway.output().slice(-2000)}`
}

/** `null` after the time that a start may take. */
async function overdue (): Promise<null> {
  return await sleep(READY_TIMEOUT_MS, null, { ref: false })
}

function startGateway ({ dataDir, databaseUrl, nodeDir }: QuickStartOptions) {
  const path = process.env['PATH'] ?? ''
  const child = spawn('npm', ['start'], {
    cwd: root,
    env: {
      HOME: process.env['HOME'],
      PATH: nodeDir === null ? path : `${nodeDir}${delimiter}${path}`,
      VITAL_DATA_DIR: dataDir,
      VITAL_MQTT_PORT: '0',
      VITAL_HTTP_PORT: '0',
      ...databaseUrl === null ? {} : { DATABASE_URL: databaseUrl }
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    // npm hands a signal to what it runs; a group of its own keeps Ctrl-C of this run from coming twice.
    detached: true
  })
  let output = ''
  const ready = new Promise<{ mqtt: number, http: number }>((resolve) => {
    const take = (chunk: Buffer) => {
      output += chunk.toString()
      if (!output.includes('"msg":"ready"')) return
      const port = (protocol: string) =>
        Number(new RegExp(`"protocol":"${protocol}","address":"[^"]*","port":(\\d+)`).exec(output)?.[1])
      resolve({ mqtt: port('mqtt'), http: port('http') })
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
  })
  const exited = once(child, 'close').then(([status]) => status as number | null)
  return { ready, exited, output: () => output, stop: () => { if (child.exitCode === null) child.kill('SIGTERM') } }
}
