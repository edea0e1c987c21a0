import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeSubmissions } from '../../../src/ingest/journal/spool/codec.ts'
import { parseRecordHeader, parseSegmentName, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../../../src/ingest/journal/spool/format.ts'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig/rig.ts'

const FLIPS_MAX = 12
const SET_ASIDE_TIMEOUT_MS = 5000

/** One record on disk, and what would be lost with it. */
interface Stretch {
  readonly path: string
  readonly start: number
  readonly end: number
  /** `device n` of its readings and dead letters. */
  readonly holds: readonly string[]
}

export const bitFlips: Fault = {
  name: 'bit-flips',
  summary: 'random bits of the spool flipped while the gateway is down: starts, counts them, loses only those records',
  database: 'own',
  cycles: { alone: 3, inAll: 2 },
  async run (rig) {
    await rig.startGateway()
    await rig.repeat(async () => {
      await rig.beginAccount()
      await sleep(500)
      const held = await damageSpool(rig)
      await rig.endAccount({ mayLose: ({ device, n }) => held.has(`${device} ${n}`) })
    })
  }
}

/**
 * Fills the spool, flips bits of it while the gateway is down, and checks how the next gateway handles that.
 * @returns `device n` of all readings and dead letters in the damaged records
 */
export async function damageSpool (rig: Rig): Promise<ReadonlySet<string>> {
  await rig.ownPostgres.stop('SIGINT')
  await sleep(rig.between(1500, 3000))
  await rig.killGateway()
  const damaged = await flip(rig)
  await rig.ownPostgres.start()
  await rig.startGateway({ isCounted: true })
  const held = new Set(damaged.flatMap(({ holds }) => holds))
  rig.count('readingsInDamage', held.size)
  rig.count('recordsDamaged', damaged.length)
  await rig.until(async () => (await rig.scrape()).spoolReadings === 0, 60_000)
  const { damage } = await rig.scrape()
  if (damage === 0 && damaged.length > 0) rig.violate('expected', `${damaged.length} records were damaged and none was counted`)
  // The last record of a segment counts as replayed a moment before its file is set aside.
  const isSetAside = async () => (await readdir(join(rig.dataDir, 'spool'))).some((name) => name.endsWith('.damaged'))
  if (await rig.until(isSetAside, SET_ASIDE_TIMEOUT_MS) === null) rig.violate('expected', 'no damaged segment was set aside')
  return held
}

/** @returns the records that were changed */
async function flip (rig: Rig): Promise<Stretch[]> {
  const stretches = await readStretches(join(rig.dataDir, 'spool'))
  if (stretches.length === 0) throw new Error('the spool is empty: there is nothing to damage')
  const damaged = new Set<Stretch>()
  for (let flips = Math.ceil(rig.between(0, FLIPS_MAX)); flips > 0; flips--) {
    const stretch = stretches[Math.floor(rig.between(0, stretches.length))]!
    // Half of the flips hit headers, which are small, and the harder case.
    const end = rig.between(0, 1) < 0.5 ? stretch.start + RECORD_HEADER_BYTES : stretch.end
    const offset = Math.floor(rig.between(stretch.start, end))
    const file = await open(stretch.path, 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, offset)
    byte[0]! ^= 1 << Math.floor(rig.between(0, 8))
    await file.write(byte, 0, 1, offset)
    await file.close()
    damaged.add(stretch)
  }
  return [...damaged]
}

async function readStretches (directory: string): Promise<Stretch[]> {
  const stretches: Stretch[] = []
  for (const name of (await readdir(directory)).sort()) {
    const parsed = parseSegmentName(name)
    if (parsed === null || parsed.isDamaged) continue
    const path = join(directory, name)
    const bytes = await readFile(path)
    let start = SEGMENT_HEADER_BYTES
    for (;;) {
      const header = parseRecordHeader(bytes.subarray(start, start + RECORD_HEADER_BYTES), parsed.marker)
      const end = start + RECORD_HEADER_BYTES + (header?.length ?? 0)
      if (header === null || end > bytes.length) break
      stretches.push({ path, start, end, holds: await readHeld(bytes.subarray(start + RECORD_HEADER_BYTES, end)) })
      start = end
    }
  }
  return stretches
}

async function readHeld (payload: Buffer): Promise<string[]> {
  const submissions = await decodeSubmissions(payload)
  return submissions.flatMap(({ readings, letters }) => [
    ...readings.map(({ device, vitals }) => `${device} ${(JSON.parse(vitals) as { n: number }).n}`),
    ...letters.map(({ device, payload }) => `${device} ${/"n":(\d+)/.exec(payload.toString('utf8'))?.[1]}`)
  ])
}
