/** Outages of PostgreSQL: the recovery, the promises that hold meanwhile, and the long outage itself. */
import { setTimeout as sleep } from 'node:timers/promises'
import { watchMemory } from '../checks/memory.ts'
import type { Fault } from '../fault.ts'
import type { Measure } from '../../harness/checks/ledger-file.ts'
import type { Rig } from '../rig/rig.ts'
import { Span } from '../../harness/checks/span.ts'

/** From a reading's first write: the time-out of a commit, 1.5 s, and the spool. */
const SPOOLED_ACK_MS_MAX = 2000
const ACK_P99_MS_MAX = 250
const RECOVERY_TIMEOUT_MS = 90_000
const REMARK_INTERVAL_MS = 60_000
/** Growth of resident memory in an outage that is normal for the heap; a backlog kept in memory would exceed it. */
const RSS_GROWTH_MIB_MAX = 128

/** Waits until PostgreSQL takes readings again and nothing waits in the spool; notes the time. */
export async function recover (rig: Rig, timeoutMs = RECOVERY_TIMEOUT_MS): Promise<void> {
  const tookMs = await rig.until(async () => {
    const { databaseUp, spoolReadings } = await rig.scrape()
    return databaseUp && spoolReadings === 0
  }, timeoutMs)
  if (tookMs === null) {
    rig.violate('C6',
      `PostgreSQL was there, and the gateway did not come back to it within ${timeoutMs} ms: ${JSON.stringify(await rig.scrape())}`)
  } else {
    rig.recovered(tookMs)
  }
}

/** Ends the account, and judges what was sent while PostgreSQL was away: acknowledged in time, no connection lost. */
export async function endAccountOfOutage (rig: Rig, fromMs: number, toMs: number, measures: readonly Measure[] = []) {
  const { disconnects } = await rig.publisher.figures()
  const outage = new Span(fromMs, toMs)
  await rig.endAccount({ measures: [outage, ...measures] })
  const { sent, acknowledged, p99Ms, slowestMs } = outage.figures()
  rig.figures['outageSent'] = sent
  rig.figures['outageAckP99Ms'] = p99Ms
  if (acknowledged === 0) rig.violate('expected', 'nothing was acknowledged while PostgreSQL was away')
  rig.verdict('slowest acknowledgement while PostgreSQL was away', slowestMs, SPOOLED_ACK_MS_MAX, 'ms')
  rig.verdict('connections lost', disconnects, 0, 'connections')
  return { p99Ms }
}

/** Prints its progress each minute, because half an hour without output looks like a hang. @returns stops it */
function remarkEachMinute (rig: Rig, rssMiB: () => number): () => void {
  const startMs = performance.now()
  const timer = setInterval(() => {
    const tell = (what: string) => {
      rig.options.onRemark(`${Math.round((performance.now() - startMs) / 1000)} s  ${what}  ${rssMiB()} MiB resident`)
    }
    rig.scrape().then(
      ({ received, spoolReadings }) => { tell(`${received} readings received, ${spoolReadings} in the spool`) },
      () => { tell('no answer to a scrape') })
  }, REMARK_INTERVAL_MS)
  return () => { clearInterval(timer) }
}

export const longOutage: Fault = {
  name: 'long-outage',
  summary: 'PostgreSQL stopped at 5,000 readings/s: acknowledgements stay quick, memory flat, replay beside new traffic',
  database: 'own',
  seconds: { alone: 60, inAll: 30 },
  load: { devices: 200, httpDevices: 8, ratePerS: 5000, window: 100 },
  async run (rig) {
    const { seconds } = rig.options
    await rig.begin()
    await sleep(3000)
    const memory = watchMemory(rig)
    const endRemarks = remarkEachMinute(rig, memory.nowMiB)
    try {
      rig.figures['rssMiBBefore'] = memory.nowMiB()
      const fromMs = Date.now()
      await rig.ownPostgres.stop('SIGINT')
      await sleep(Math.min(5, seconds / 2) * 1000)
      const earlyMiB = memory.nowMiB()
      await sleep(Math.max(0, fromMs + seconds * 1000 - Date.now()))
      const growthMiB = memory.nowMiB() - earlyMiB
      const toMs = Date.now()
      const { spoolReadings, spoolBytes } = await rig.scrape()
      rig.figures['spooledReadings'] = spoolReadings
      rig.figures['spoolBytesPerReading'] = Math.round(spoolBytes / Math.max(1, spoolReadings))
      const replayedToMs = await replay(rig)
      rig.figures['rssMiBPeak'] = memory.peakMiB()
      rig.figures['rssMiBAfter'] = memory.nowMiB()
      const replaySpan = new Span(toMs, replayedToMs)
      const { p99Ms } = await endAccountOfOutage(rig, fromMs, toMs, [replaySpan])
      const during = replaySpan.figures()
      rig.figures['replayAckSlowestMs'] = during.slowestMs
      rig.verdict('p99 of acknowledgements during the outage', p99Ms, ACK_P99_MS_MAX, 'ms')
      rig.verdict('p99 of acknowledgements during the replay', during.p99Ms, ACK_P99_MS_MAX, 'ms')
      rig.verdict('growth of resident memory during the outage', growthMiB, RSS_GROWTH_MIB_MAX, 'MiB')
    } finally {
      endRemarks()
      memory.stop()
    }
  }
}

/** Lets PostgreSQL come back under full load. @returns when the backlog was gone, Unix milliseconds */
async function replay (rig: Rig): Promise<number> {
  await rig.ownPostgres.start()
  const sentBefore = (await rig.publisher.figures()).sent
  const startMs = performance.now()
  await recover(rig, RECOVERY_TIMEOUT_MS + rig.options.seconds * 5000)
  const seconds = (performance.now() - startMs) / 1000
  const endMs = Date.now()
  rig.figures['replayedPerS'] = Math.round((await rig.scrape()).replayed / seconds)
  rig.figures['sentPerSWhileReplaying'] = Math.round(((await rig.publisher.figures()).sent - sentBefore) / seconds)
  return endMs
}
