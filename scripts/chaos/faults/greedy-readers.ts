/** Readers that request as fast as they can must not delay publishes. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import { startReaders } from '../devices/readers.ts'
import type { Rig } from '../rig/rig.ts'
import { Span } from '../../harness/checks/span.ts'

const ACK_P99_MS_MAX = 250
const LARGE_DEVICES = 100
const SAMPLES = 4000
/** Six bytes each in JSON, 310 in what PostgreSQL prints: a body of 240 KB becomes 12 MB. */
const LONG_NUMBERS = 40_000
const PAGE_READERS = 40
const DEVICE_READERS = 60

/** Above every device of the load in the order of ids, so that the first page downwards holds them and no other. */
const LARGE_PREFIX = 'zz-large'
const LONG_DEVICE = 'aa-long'

async function post (rig: Rig, body: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${rig.httpPort}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body
  })
  await response.arrayBuffer()
  if (response.status !== 202) throw new Error(`a large reading was answered ${response.status}`)
}

async function storeLargeReadings (rig: Rig): Promise<void> {
  const timestamp = Math.floor(Date.now() / 1000)
  for (let index = 0; index < LARGE_DEVICES; index++) {
    const wave = Array.from({ length: SAMPLES }, () => Math.floor(rig.between(0, 4096)))
    await post(rig, JSON.stringify({ device: `${LARGE_PREFIX}-${index}`, timestamp, wave }))
  }
  await post(rig, `{"device":"${LONG_DEVICE}","timestamp":${timestamp},"wave":[${new Array(LONG_NUMBERS).fill('1e308').join(',')}]}`)
}

export const greedyReaders: Fault = {
  name: 'greedy-readers',
  summary: `${PAGE_READERS} readers of pages of ${LARGE_DEVICES} large devices, then ${DEVICE_READERS} of one device of 12 MB: ` +
    'acknowledgements stay quick, readers get 200 or 503',
  database: 'own',
  seconds: { alone: 40, inAll: 20 },
  async run (rig) {
    await rig.begin()
    await storeLargeReadings(rig)
    await sleep(3000)
    const before = new Span(Date.now() - 2500, Date.now())
    const waves = [
      { name: 'pages', count: PAGE_READERS, paths: ['/vital-data?count=100&sortBy=deviceId'] },
      { name: 'device', count: DEVICE_READERS, paths: [`/vital-data/${LONG_DEVICE}`] }
    ]
    const spans: Array<{ name: string, span: Span }> = []
    for (const { name, count, paths } of waves) {
      rig.watch.otherConnections = Math.max(rig.watch.otherConnections, 2 * count)
      const fromMs = Date.now()
      const readers = startReaders({ port: () => rig.httpPort, count, paths, random: rig.options.random })
      await sleep(rig.options.seconds * 1000 / waves.length)
      spans.push({ name, span: new Span(fromMs, Date.now()) })
      await readers.stop()
      const { answered, refused, others, slowestMs, bytes } = readers.figures
      Object.assign(rig.figures, {
        [`${name}Answered`]: answered,
        [`${name}Refused`]: refused,
        [`${name}SlowestMs`]: slowestMs,
        [`${name}MiB`]: Math.round(bytes / 2 ** 20)
      })
      if (answered === 0) rig.violate('expected', `no reader of ${name} was answered`)
      for (const [outcome, times] of others) rig.violate('expected', `readers of ${name} were answered ${outcome}, ${times} times`)
    }
    const { disconnects } = await rig.publisher.figures()
    await rig.endAccount({ measures: [before, ...spans.map(({ span }) => span)] })
    rig.figures['ackP99MsBefore'] = before.figures().p99Ms
    for (const { name, span } of spans) {
      rig.verdict(`p99 of acknowledgements beside readers of ${name}`, span.figures().p99Ms, ACK_P99_MS_MAX, 'ms')
    }
    rig.verdict('connections of devices lost', disconnects, 0, 'connections')
  }
}
