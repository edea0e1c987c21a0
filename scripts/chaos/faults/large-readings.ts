import { setTimeout as sleep } from 'node:timers/promises'
import { watchMemory } from '../checks/memory.ts'
import type { Fault } from '../fault.ts'
import { Span } from '../../harness/checks/span.ts'
import { recover } from './outage.ts'

const RSS_MIB_MAX = 500
const ACK_P99_MS_MAX = 500
/** Large readings are a few dozen a second, and the harness's machine may have other work. */
const DRAIN_TIMEOUT_MS = 180_000

export const largeReadings: Fault = {
  name: 'large-readings',
  summary: 'readings of 60 B to 250 KB over both transports through an outage and its replay: drained, memory bounded, acknowledgements quick',
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
