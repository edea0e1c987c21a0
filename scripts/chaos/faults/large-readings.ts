/** Readings as large as a packet may be: through an outage, and as a backlog of one size. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import { Span } from '../../harness/checks/span.ts'
import { watchMemory } from '../checks/memory.ts'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig/rig.ts'
import { recover } from './outage.ts'

const RSS_MIB_MAX = 500
const ACK_P99_MS_MAX = 500
/** Large readings are a few dozen a second, and the harness's machine may have other work. */
const DRAIN_TIMEOUT_MS = 180_000

export const largeReadings: Fault = {
  name: 'large-readings',
  summary: 'readings of 60 B to 250 KB over both transports through an outage and its replay: drained, memory bounded, ' +
    'acknowledgements quick',
  database: 'own',
  seconds: { alone: 30, inAll: 15 },
  load: { devices: 30, httpDevices: 10, ratePerS: 50, window: 10, waveformShare: 1 },
  async run (rig) {
    await rig.begin()
    await sleep(2000)
    const memory = watchMemory(rig)
    try {
      await rig.ownPostgres.stop('SIGINT')
      await sleep(rig.options.seconds * 1000)
      const { spoolReadings, spoolBytes } = await rig.scrape()
      rig.figures['spooledReadings'] = spoolReadings
      rig.figures['spoolBytes'] = spoolBytes
      const fromMs = Date.now()
      await rig.ownPostgres.start()
      await recover(rig, DRAIN_TIMEOUT_MS)
      const replay = new Span(fromMs, Date.now())
      await rig.endAccount({ measures: [replay] })
      const { p99Ms } = replay.figures()
      rig.verdict('p99 of acknowledgements during the replay', p99Ms, ACK_P99_MS_MAX, 'ms')
      rig.verdict('resident memory', memory.peakMiB(), RSS_MIB_MAX, 'MiB')
    } finally {
      memory.stop()
    }
  }
}

/** Readings of one size, and how long their replay may take. */
const BACKLOGS = [
  { bytes: 18_000, readings: 2600, ratePerS: 400, storedWithinS: 60 },
  { bytes: 190_000, readings: 2000, ratePerS: 100, storedWithinS: 180 }
] as const
type Backlog = typeof BACKLOGS[number]

/** Beside the replay. */
const SMALL = { devices: 20, httpDevices: 4, ratePerS: 200, waveformShare: 0 } as const
const FILL_TIMEOUT_MS = 120_000
/** Beyond what is allowed, so that a late replay is told by its time. */
const PATIENCE = 2

async function replayBacklog (rig: Rig, small: PublisherProcess, { bytes, readings, ratePerS, storedWithinS }: Backlog): Promise<void> {
  const name = `of ${bytes / 1000} KB`
  await rig.ownPostgres.stop('SIGINT')
  await rig.beginAccount({ ratePerS, waveformBytesMin: bytes, waveformBytesMax: bytes })
  const { acknowledged } = await rig.publisher.waitUntil((figures) => figures.acknowledged >= readings, FILL_TIMEOUT_MS)
  if (acknowledged < readings) rig.violate('expected', `${acknowledged} of ${readings} readings ${name} were acknowledged`)
  await rig.publisher.drain(FILL_TIMEOUT_MS)
  const { spoolReadings } = await rig.scrape()
  rig.figures[`spooled ${name}`] = spoolReadings
  if (spoolReadings < readings) rig.violate('expected', `${spoolReadings} readings ${name} are in the spool, fewer than ${readings}`)
  // Devices of their own, whose names belong to the same account.
  const ledgerPath = join(rig.options.dir, `ledger-small-${bytes}`)
  await small.run({
    ...rig.options.load,
    ...SMALL,
    mqttPort: rig.mqttPort,
    httpPort: rig.httpPort,
    ledgerPath,
    prefix: `${rig.prefix}-small`,
    seed: rig.options.seed,
    numbering: { first: 0, step: 1 }
  })
  const fromMs = Date.now()
  await rig.ownPostgres.start()
  await recover(rig, storedWithinS * PATIENCE * 1000)
  const toMs = Date.now()
  const replay = new Span(fromMs, toMs)
  await rig.endAccount({ also: { publisher: small, httpPort: rig.adminPort, ledgerPath: () => ledgerPath }, measures: [replay] })
  rig.figures[`new readings beside those ${name}`] = replay.figures().acknowledged
  rig.verdict(`${spoolReadings} readings ${name} stored after`, Math.round((toMs - fromMs) / 1000), storedWithinS, 's')
  rig.verdict(`p99 of acknowledgements beside those ${name}`, replay.figures().p99Ms, ACK_P99_MS_MAX, 'ms')
}

export const largeBacklog: Fault = {
  name: 'large-backlog',
  summary: '2,600 readings of 18 KB, then 2,000 of 190 KB, acknowledged without PostgreSQL: stored in time, memory bounded, ' +
    'acknowledgements quick',
  database: 'own',
  load: { devices: 20, httpDevices: 10, window: 4, invalidShare: 0, waveformShare: 1 },
  async run (rig) {
    await rig.startGateway()
    const memory = watchMemory(rig)
    const small = new PublisherProcess(rig.options.belongings, rig.options.program.publisher)
    try {
      for (const backlog of BACKLOGS) await replayBacklog(rig, small, backlog)
      rig.verdict('resident memory', memory.peakMiB(), RSS_MIB_MAX, 'MiB')
    } finally {
      memory.stop()
      small.kill()
    }
  }
}
