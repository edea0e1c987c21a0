/**
 * Everything at random. In the first half of the time all strikes are such that one gateway survives them, so that its
 * memory can be seen to stay flat. In the second half it may be killed too.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { preloadLatest } from '../../harness/preload.ts'
import { readRssBytes } from '../../harness/process-stat.ts'
import { EFFECTIVE_WITHIN_MS, revokeBystanders } from '../devices/bystanders.ts'
import type { Fault } from '../fault.ts'
import { FAILPOINTS } from '../rig/injection.ts'
import { type Mishap, Proxy } from '../rig/proxy.ts'
import type { Rig } from '../rig/rig.ts'
import { damageSpool } from './bit-flips.ts'
import { dieAt, losePower } from './failpoints.ts'
import { flood } from './flood.ts'
import { recover } from './outage.ts'
import { forbidWrites, hang, lockTable, stopForAWhile, terminateSessions } from './postgres.ts'

/** Time between two checks: a loss is found while its logs are there. */
const ACCOUNT_MS = 60_000
const CALM_MS_MAX = 5000
/** From the middle third to the last third of the first half, when every cache and pool has its full size. */
const RSS_GROWTH_MIB_MAX = 64
const RSS_POLL_MS = 1000
/** Five minutes: in less, one replay of large readings moves the median of a third. */
const JUDGED_SAMPLES_MIN = 300

/** Principals of one revocation; a few of them are connected. */
const REVOKED = [1, 100, 5000]
const REVOKED_CONNECTED_MAX = 20

/** Devices in `latest` that sent nothing for an hour; readers sort and page among them. */
const SILENT_DEVICES = 100_000

const DAY_MS = 86_400_000

type Strike = (rig: Rig) => Promise<void>

/** Readings that a strike destroyed on disk. */
type Held = Set<string>

const MILD: Readonly<Record<string, Strike>> = {
  crashOfPostgres: (rig) => stopForAWhile(rig, 'SIGKILL'),
  stopOfPostgres: (rig) => stopForAWhile(rig, 'SIGQUIT'),
  hang: (rig) => hang(rig, rig.between(500, 8000)),
  terminate: (rig) => terminateSessions(rig, rig.between(500, 4000)),
  readOnly: (rig) => forbidWrites(rig, rig.between(2500, 6000)),
  lock: (rig) => lockTable(rig, rig.between(0, 1) < 0.5 ? 'readings' : 'latest', rig.between(0.5, 5)),
  flood: (rig) => flood(rig, rig.between(1000, 5000)),
  revocation: revoke,
  calm: (rig) => sleep(rig.between(0, CALM_MS_MAX))
}

const DEADLY = (held: Held): Readonly<Record<string, Strike>> => ({
  kill: async (rig) => {
    await rig.killGateway()
    await rig.startGateway()
  },
  sigterm: async (rig) => {
    await rig.stopGateway()
    await rig.startGateway()
  },
  failpoint: async (rig) => {
    await dieAt(rig, pick(rig, FAILPOINTS))
    await rig.startGateway()
  },
  powerLoss: async (rig) => {
    await losePower(rig)
    await rig.startGateway()
  },
  wrongClock: async (rig) => {
    await rig.killGateway()
    await rig.startGateway({ injection: { clockAheadMs: rig.between(-3, 3) * DAY_MS } })
    await sleep(rig.between(1000, 8000))
    await rig.killGateway()
    await rig.startGateway()
  },
  bitFlips: async (rig) => {
    for (const one of await damageSpool(rig)) held.add(one)
  }
})

async function revoke (rig: Rig): Promise<void> {
  const count = pick(rig, REVOKED)
  const connected = Math.min(count, REVOKED_CONNECTED_MAX)
  rig.watch.otherConnections = Math.max(rig.watch.otherConnections, connected)
  rig.count('revoked', count)
  const { admittedMs, closedMs } = await revokeBystanders({
    databaseUrl: rig.databaseUrl, ports: [rig.mqttPort], prefix: `${rig.prefix}-${rig.figures['revoked']}`, count, connected
  })
  rig.figures['slowestAdmissionMs'] = Math.max(admittedMs, Number(rig.figures['slowestAdmissionMs'] ?? 0))
  rig.figures['slowestRevocationMs'] = Math.max(closedMs ?? 0, Number(rig.figures['slowestRevocationMs'] ?? 0))
  if (closedMs === null || closedMs > EFFECTIVE_WITHIN_MS) {
    const closed = closedMs === null ? 'some stay connected' : `the last was closed after ${closedMs} ms`
    rig.violate('expected', `${count} principals were revoked, and ${closed}`)
  }
}

function pick<Item> (rig: Rig, items: readonly Item[]): Item {
  return items[Math.floor(rig.between(0, items.length))]!
}

/** Most connections go well. The others are cut, some of them after their answers were dropped. */
function toMishap (rig: Rig): Mishap {
  if (rig.between(0, 1) < 0.7) return {}
  const fromMs = performance.now() + rig.between(1000, 20_000)
  const lastsMs = fromMs - performance.now() + rig.between(200, 1000)
  return rig.between(0, 1) < 0.5 ? { lastsMs } : { lastsMs, dropsDown: () => performance.now() > fromMs }
}

export const soak: Fault = {
  name: 'soak',
  summary: 'everything at random for a long time: readings of 60 B to 250 KB over both transports, readers, connections that lose ' +
    'acknowledgements: nothing lost, memory flat',
  database: 'own',
  seconds: { alone: 600, inAll: 60 },
  load: { isIdentified: true, httpDevices: 12, waveformShare: 0.005 },
  readers: 4,
  async run (rig) {
    const held: Held = new Set()
    const proxy = new Proxy(() => rig.mqttPort, () => toMishap(rig))
    const mqttPort = await proxy.listen()
    const rss: number[] = []
    const timer = setInterval(() => { rss.push((readRssBytes(rig.gateway.pid) ?? 0) / 2 ** 20) }, RSS_POLL_MS)
    try {
      await rig.startGateway()
      await addSilentDevices(rig)
      const halfMs = rig.options.seconds * 500
      await strikeFor(rig, { strikes: MILD, ms: halfMs, mqttPort, held })
      judgeMemory(rig, rss)
      clearInterval(timer)
      await strikeFor(rig, { strikes: { ...MILD, ...DEADLY(held) }, ms: halfMs, mqttPort, held })
      rig.figures['droppedBytes'] = proxy.droppedBytes
    } finally {
      clearInterval(timer)
      proxy.close()
    }
  }
}

async function addSilentDevices (rig: Rig): Promise<void> {
  const client = new pg.Client({ connectionString: rig.databaseUrl })
  await client.connect()
  try {
    await preloadLatest(client, SILENT_DEVICES, () => {})
  } finally {
    await client.end()
  }
}

/** Strikes at random, one at a time, with an account for each minute. */
async function strikeFor (
  rig: Rig, how: { strikes: Readonly<Record<string, Strike>>, ms: number, mqttPort: number, held: Held }
): Promise<void> {
  const { strikes, ms, mqttPort, held } = how
  const untilMs = performance.now() + ms
  while (performance.now() < untilMs) {
    const accountUntilMs = Math.min(untilMs, performance.now() + ACCOUNT_MS)
    await rig.beginAccount({ mqttPort })
    while (performance.now() < accountUntilMs) {
      await sleep(rig.between(0, 2000))
      const name = pick(rig, Object.keys(strikes))
      await strikes[name]!(rig)
      rig.count(name, 1)
      await recover(rig)
    }
    await rig.endAccount({ mayLose: ({ device, n }) => held.has(`${device} ${n}`) })
  }
}

/** C5: memory that grows without end passes any bound in time; this finds it earlier. */
function judgeMemory (rig: Rig, rssMiB: readonly number[]): void {
  const third = Math.floor(rssMiB.length / 3)
  const median = (part: readonly number[]) => Math.round([...part].sort((a, b) => a - b)[part.length >> 1] ?? 0)
  const [middle, last] = [median(rssMiB.slice(third, 2 * third)), median(rssMiB.slice(2 * third))]
  rig.figures['rssMiBMiddle'] = middle
  rig.figures['rssMiBLast'] = last
  if (rssMiB.length < JUDGED_SAMPLES_MIN) return
  rig.verdict('growth of resident memory over the first half', last - middle, RSS_GROWTH_MIB_MAX, 'MiB')
}
