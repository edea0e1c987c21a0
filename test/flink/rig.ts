import { join } from 'node:path'
import type { Test } from 'tap'
import { BUCKET_COLUMNS } from '../../db/rollups/sign-columns.ts'
import type { ReadingRow } from '../../db/rows.ts'
import { readRecordings } from '../../scripts/devices/recordings/folder.ts'
import { toPlayback } from '../../scripts/devices/recordings/playback.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { loadKafkaClient } from '../../src/kafka/load-client.ts'
import { AVERAGES_TOPIC, type OutgoingRecord } from '../../src/kafka/records.ts'
import { makeTopics } from '../../src/kafka/topics.ts'
import { prepareTables } from '../helpers/flink.ts'
import { readTopic } from '../helpers/kafka.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts'
import { ROOT } from '../helpers/program.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRecord } from '../sink/rig.ts'

type Query = TestDatabase['query']

/** One broker for a file of tests, with new topics and a new database for each test. */
export async function createFlinkRig (t: Test) {
  const rig = await createSinkRig(t)
  const client = await loadKafkaClient('this test')
  return {
    ...rig,
    async createPlace (t: Test) {
      if ((await rig.admin.listTopics()).includes(AVERAGES_TOPIC)) await rig.admin.deleteTopics({ topics: [AVERAGES_TOPIC] })
      await until(async () => !(await rig.admin.listTopics()).includes(AVERAGES_TOPIC))
      await rig.makeAnew()
      await makeTopics(client, rig.admin, { partitions: 6, replicas: 1, messageBytesMin: 8 * 1024 * 1024, hasAverages: true })
      const { connectionString, query } = await createTestDatabase(t)
      await prepareTables(connectionString)
      return { connectionString, query, brokers: rig.kafka.brokers }
    }
  }
}

/** The columns that Flink computes for each bucket. Only roll-ups have first and last values. */
const COLUMNS = BUCKET_COLUMNS.filter((name) => !/_(?:first|last)$/.test(name))
  .map((name) => /_(?:min|max|sum)$/.test(name) ? `trim_scale(${name}) as ${name}` : `${name}::int`).join(', ')

export const selectRollups = (query: Query) => query(`select device, time, ${COLUMNS} from rollups_5m order by device, time`)
export const selectAverages = (query: Query) => query(`select device, time, ${COLUMNS} from flink.averages_5m order by device, time`)

/** The number of readings that Flink has counted. */
export async function countReadings (query: Query): Promise<number> {
  const [row] = await query<{ total: number }>('select coalesce(sum(readings), 0)::int as total from flink.averages_5m')
  return row!.total
}

/** A record of the topic of averages. */
interface Average {
  readonly device: string
  readonly from: number
  readonly to: number
  readonly count: number
  readonly vitals: Readonly<Record<string, Readonly<Record<string, number>>>>
}

/** The last record of each key. */
export async function readAverages (t: Test, brokers: string): Promise<Map<string, Average>> {
  const last = new Map<string, Average>()
  for (const { key, value } of await readTopic(t, { brokers }, AVERAGES_TOPIC)) {
    // Flink escapes characters beyond U+FFFF.
    last.set(JSON.stringify(JSON.parse(key)), JSON.parse(value!.toString()) as Average)
  }
  return last
}

/** The recordings, each played at several hours of the last day, and a device whose values and times are awkward. */
export async function toRecordedRows (nowS: number): Promise<ReadingRow[]> {
  const recordings = await readRecordings(join(ROOT, 'test/fixtures/bidmc'))
  const rows = recordings.flatMap(({ device, samples }) => [3, 9, 20].flatMap((hoursAgo) => {
    const playback = toPlayback(samples, { startS: Math.floor(nowS) - hoursAgo * 3600, speed: Infinity, respZero: 'omit' })
    return [...playback].map(({ reading }) => toReadingRow(reading, device, nowS * 1000))
  }))
  const bucket = Math.floor(nowS / 300) * 300 - 7200
  const awkward: Array<Record<string, unknown> & { timestamp: number }> = [
    { timestamp: bucket - 0.000001, temperatureValue: 36.6 },
    { timestamp: bucket, temperatureValue: 0.1, spo2Value: 99.5 },
    { timestamp: bucket, temperatureValue: 0.2, note: '","vitals":{"heartRateValue":1}}' },
    { timestamp: bucket + 0.25, temperatureValue: 37.12345678901234, heartRateValue: -0 },
    { timestamp: bucket + 299.999999, temperatureValue: 1e-7, breathValue: 12, breathRateValue: 13 },
    { timestamp: bucket + 300, bloodPressureSystolic: 121, bloodPressureDiastolic: 80.5, pulseRateValue: 2 ** 63 },
    { timestamp: bucket + 600 },
    { timestamp: bucket + 601, device: 'another', other: [1, { heartRateValue: 2 }] }
  ]
  return [...rows, ...awkward.map((reading) => toReadingRow(reading, 'ward "3" \\ é 😀', nowS * 1000))]
}

/** A copy in another order. @param random - numbers in [0, 1) */
export function shuffle<T> (items: readonly T[], random: () => number): T[] {
  const copy = [...items]
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    ;[copy[last], copy[other]] = [copy[other]!, copy[last]!]
  }
  return copy
}

/** Each reading once or more, some received a minute later as if sent again, in any order. */
export function toMessyRecords (rows: readonly ReadingRow[], random: () => number): OutgoingRecord[] {
  const again = rows.filter(() => random() < 0.3)
  const resent = rows.filter(() => random() < 0.1).map((row) => ({ ...row, receivedAtMs: row.receivedAtMs + 60_000 }))
  return shuffle([...rows, ...again, ...resent], random).map(toRecord)
}
