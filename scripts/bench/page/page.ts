/**
 * Measures the live page: its frames while 10,000 devices send 2,000 updates a second, and the effect of ten open pages
 * on acknowledgements at 5,000 readings a second. Needs the build (`npm run build`) and Chromium: see
 * src/web/README.md.
 *
 *   npx tsx scripts/bench/page/page.ts
 *   npx tsx scripts/bench/page/page.ts --no-frames --subscribe-to-all   what the gateway would pay for pages that get each reading
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectAsync, type MqttClient } from 'mqtt'
import { generate as encode } from 'mqtt-packet'
import { chromium } from 'playwright-core'
import { WebSocket } from 'ws'
import { describeMachine } from '../../harness/machine.ts'

const ROOT = join(import.meta.dirname, '../../..')
const CHROMIUM = '/usr/bin/chromium'
const DEVICES = 10_000
const UPDATES_PER_S = 2000
const ACKNOWLEDGED_PER_S = 5000
const PAGES = 10
const PUBLISHERS = 20
const MEASURE_MS = 20_000
const TICK_MS = 10
/** Rounds of acknowledgements, without and with pages in turn. */
const ROUNDS = 3
const ROUND_MS = 10_000
const isOfAll = process.argv.includes('--subscribe-to-all')
const isWithFrames = !process.argv.includes('--no-frames')

interface Ports { mqtt: number, http: number }

/** A gateway with an embedded PostgreSQL of its own. */
async function startGateway (dataDir: string): Promise<{ readonly child: ChildProcess, readonly ports: Ports }> {
  const child = spawn(process.execPath, [join(ROOT, 'dist/scripts/vital-gateway.js')], {
    cwd: dataDir,
    env: { PATH: process.env['PATH'], HOME: dataDir, VITAL_DATA_DIR: dataDir, VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const ports: Ports = { mqtt: 0, http: 0 }
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as { msg: string, protocol?: string, port?: number }
    if (line.msg === 'listening' && line.protocol === 'mqtt') ports.mqtt = line.port!
    if (line.msg === 'listening' && line.protocol === 'http') ports.http = line.port!
    if (line.msg === 'ready') break
  }
  // Its further output is not read, and must not fill its pipe.
  child.stdout.resume()
  return { child, ports }
}

const toPayload = (nth: number) => JSON.stringify({
  timestamp: Date.now() / 1000, heartRateValue: 60 + nth % 40, spo2Value: 95 + nth % 5, breathRateValue: 12 + nth % 9
})

/** Publishes on a schedule; latency counts from when a reading was due, so that a stall is not left out. */
async function publishFor (clients: readonly MqttClient[], perS: number, durationMs: number): Promise<number[]> {
  const latenciesMs: number[] = []
  const answers: Array<Promise<void>> = []
  const startMs = performance.now()
  let sent = 0
  for (let elapsedMs = 0; elapsedMs < durationMs; elapsedMs = performance.now() - startMs) {
    const due = Math.floor(elapsedMs * perS / 1000)
    for (; sent < due; sent++) {
      const dueMs = startMs + sent * 1000 / perS
      const topic = `vital/bench-${sent % DEVICES}`
      answers.push(clients[sent % clients.length]!.publishAsync(topic, toPayload(sent), { qos: 1 })
        .then(() => { latenciesMs.push(performance.now() - dueMs) }))
    }
    await sleep(TICK_MS)
  }
  await Promise.all(answers)
  return latenciesMs
}

function toQuantile (values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * part)] ?? NaN
}

const tell = (name: string, values: readonly number[]) => {
  const [p50, p95, p99, most] = [0.5, 0.95, 0.99, 1].map((part) => toQuantile(values, part).toFixed(1))
  console.log(`${name}  ${values.length} values  p50 ${p50}  p95 ${p95}  p99 ${p99}  max ${most} ms`)
}

/** Times between frames, in the page. */
const FRAMES = `new Promise((resolve) => {
  const times = []
  let before = performance.now()
  const end = before + ${MEASURE_MS}
  const frame = (now) => {
    times.push(now - before)
    before = now
    now < end ? requestAnimationFrame(frame) : resolve(times.slice(1))
  }
  requestAnimationFrame(frame)
})`

async function measureFrames (clients: readonly MqttClient[], { http }: Ports): Promise<void> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
  await page.goto(`http://127.0.0.1:${http}/`)
  await page.getByRole('button', { name: `All ${DEVICES.toLocaleString('en')}` }).waitFor({ timeout: 60_000 })
  await page.getByRole('button', { name: /^HR/ }).click()
  await page.mouse.move(5, 5)
  const traffic = publishFor(clients, UPDATES_PER_S, MEASURE_MS + 3000)
  await sleep(2000)
  console.log(`load average ${loadavg()[0]!.toFixed(1)}`)
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable')
  const toBusyS = async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    const of = (wanted: string) => metrics.find(({ name }) => name === wanted)!.value
    return [of('TaskDuration'), of('ScriptDuration'), of('LayoutDuration') + of('RecalcStyleDuration')] as const
  }
  const before = await toBusyS()
  const frames = await page.evaluate(FRAMES) as number[]
  const after = await toBusyS()
  const [task, script, layout] = after.map((value, index) => ((value - before[index]!) * 1e6 / MEASURE_MS).toFixed(0))
  console.log(`main thread of the page, ms a second: ${task} (script ${script}, layout and style ${layout})`)
  tell(`frames of the fleet, ${DEVICES} devices, ${UPDATES_PER_S} updates/s, sorted by heart rate`, frames)
  await traffic
  await browser.close()
}

/** MQTT 3.1.1: CONNECT with a clean session and no keepalive, and SUBSCRIBE at QoS 0. */
const toConnect = (id: string) =>
  encode({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: id, clean: true, keepalive: 0 })
const toSubscribe = (topics: readonly string[]) =>
  encode({ cmd: 'subscribe', messageId: 1, subscriptions: topics.map((topic) => ({ topic, qos: 0 as const })) })
/** Rows in view of a window of 1280 x 800, with those beside it. */
const toInView = (page: number) => Array.from({ length: 28 }, (_, row) => `vital/bench-${page * 28 + row}`)

/**
 * Acts towards the gateway as pages do: subscribes to the rows in view over WebSocket, and asks every two seconds for
 * the status and for the changes of all devices. With `isOfAll` it acts as pages that subscribe to everything. It reads
 * and drops, because ten browsers on the gateway's machine would measure how they share its cores.
 */
async function openPages (
  { http }: Ports, isOfAll: boolean
): Promise<{ readonly close: () => void, readonly receivedBytes: () => number }> {
  let receivedBytes = 0
  const sockets = await Promise.all(Array.from({ length: PAGES }, async (_, page) => {
    const socket = new WebSocket(`ws://127.0.0.1:${http}/mqtt`, 'mqtt')
    socket.on('message', (data: Buffer) => { receivedBytes += data.length })
    await once(socket, 'open')
    socket.send(toConnect(`bench-page-${page}`))
    await once(socket, 'message')
    socket.send(toSubscribe(isOfAll ? ['vital/+', 'vital/+/rejected'] : toInView(page)))
    await once(socket, 'message')
    return socket
  }))
  const positions = new Array<string>(PAGES).fill('')
  const ask = async (page: number) => {
    await (await fetch(`http://127.0.0.1:${http}/app/status.json`)).arrayBuffer()
    if (isOfAll) return
    const answer = await (await fetch(`http://127.0.0.1:${http}/app/changes.json?since=${positions[page]}`)).text()
    receivedBytes += answer.length
    positions[page] = /"position":"([^"]*)"/.exec(answer)?.[1] ?? ''
  }
  let turn = 0
  // One page after the other, as they were opened one after the other.
  const timer = setInterval(() => { ask(turn++ % PAGES).catch(() => {}) }, 2000 / PAGES)
  return {
    receivedBytes: () => receivedBytes,
    close () {
      clearInterval(timer)
      for (const socket of sockets) socket.terminate()
    }
  }
}

async function measureAcknowledgements (clients: readonly MqttClient[], ports: Ports): Promise<void> {
  await publishFor(clients, ACKNOWLEDGED_PER_S, 5000)
  for (let round = 1; round <= ROUNDS; round++) {
    console.log(`round ${round}, load average ${loadavg()[0]!.toFixed(1)}`)
    tell(`acknowledgements at ${ACKNOWLEDGED_PER_S}/s, no page`, await publishFor(clients, ACKNOWLEDGED_PER_S, ROUND_MS))
    const pages = await openPages(ports, isOfAll)
    const latenciesMs = await publishFor(clients, ACKNOWLEDGED_PER_S, ROUND_MS)
    tell(`acknowledgements at ${ACKNOWLEDGED_PER_S}/s, ${PAGES} ${isOfAll ? 'subscribers of everything' : 'pages'}`, latenciesMs)
    console.log(`each page received ${Math.round(pages.receivedBytes() / latenciesMs.length / PAGES)} bytes a reading`)
    pages.close()
    await sleep(2000)
  }
}

const dataDir = mkdtempSync(join(tmpdir(), 'vital-page-'))
const { child, ports } = await startGateway(dataDir)
try {
  console.log(describeMachine(dataDir))
  const clients = await Promise.all(Array.from({ length: PUBLISHERS }, () => connectAsync(`mqtt://127.0.0.1:${ports.mqtt}`)))
  await publishFor(clients, UPDATES_PER_S, DEVICES / UPDATES_PER_S * 1000 + 100)
  if (isWithFrames) await measureFrames(clients, ports)
  await measureAcknowledgements(clients, ports)
  await Promise.all(clients.map((client) => client.endAsync()))
} finally {
  child.kill()
  await new Promise((resolve) => { child.once('exit', resolve) })
  rmSync(dataDir, { recursive: true, force: true })
}
