import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import type { Test } from 'tap'
import type { Producer } from '@platformatic/kafka'
import { createConfig } from '../../src/config/config.ts'
import { toLetterRecord } from '../../src/kafka/letter-record.ts'
import { loadKafkaClient } from '../../src/kafka/load-client.ts'
import { toReadingRecord } from '../../src/kafka/reading-record.ts'
import { LETTERS_TOPIC, type OutgoingRecord, READINGS_TOPIC } from '../../src/kafka/records.ts'
import { makeTopics } from '../../src/kafka/topics.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { createSink } from '../../src/sink.ts'
import type { SinkLimits } from '../../src/sink/limits.ts'
import { QUICK_GROUPS } from '../../scripts/harness/kafka-broker.ts'
import { type RunningKafka, startKafka } from '../helpers/kafka.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const TOPICS = [READINGS_TOPIC, LETTERS_TOPIC]
const MIB = 1024 * 1024

/** The readiness of a sink. */
interface Health {
  readonly status: string
  readonly warnings: readonly string[]
  readonly database: { readonly status: string }
}

/** One broker for a file of tests, whose topics are recreated for each test, and sinks on it. */
export async function createSinkRig (t: Test) {
  const kafka = await startKafka(t, QUICK_GROUPS)
  const client = await loadKafkaClient('this test')
  const options = { clientId: 'test', bootstrapBrokers: [kafka.brokers], retries: 3 }
  const admin = new client.Admin(options)
  const producer: Producer = new client.Producer({ ...options, metadataMaxAge: 1 })
  t.teardown(async () => { await Promise.all([admin.close(), producer.close()]) })

  async function remove (): Promise<void> {
    const there = await admin.listTopics()
    const old = TOPICS.filter((topic) => there.includes(topic))
    if (old.length > 0) await admin.deleteTopics({ topics: old })
    await until(async () => (await admin.listTopics()).every((topic) => !TOPICS.includes(topic)), 'the topics to be gone')
  }
  async function makeAnew (partitions = 6): Promise<void> {
    await remove()
    await grow(partitions)
  }
  async function grow (partitions: number): Promise<void> {
    await makeTopics(client, admin, { partitions, replicas: 1, messageBytesMin: 8 * MIB })
    await until(async () => {
      const { topics } = await admin.metadata({ topics: TOPICS, forceUpdate: true })
      return topics.get(READINGS_TOPIC)!.partitions.length === partitions
    })
  }
  async function write (records: readonly OutgoingRecord[]): Promise<void> {
    const { topics } = await admin.metadata({ topics: TOPICS, forceUpdate: true })
    const messages = records.map((record) => ({ ...record, partition: record.partition % topics.get(record.topic)!.partitions.length }))
    await producer.send({ messages, acks: client.ProduceAcks.ALL })
  }
  return {
    kafka,
    admin,
    remove,
    makeAnew,
    grow,
    write,
    writeReadings: (rows: readonly ReadingRow[]) => write(rows.map(toRecord)),
    writeLetters: (rows: readonly DeadLetterRow[]) => write(rows.map(toLetterRecord)),
    /** The offset behind the last record, by partition. */
    async ends (topic = READINGS_TOPIC): Promise<number[]> {
      const ends = await admin.listOffsets({
        topics: [{ name: topic, partitions: (await partitionsOf(topic)).map((partitionIndex) => ({ partitionIndex, timestamp: -1n })) }]
      })
      return [...ends[0]!.partitions].sort((a, b) => a.partitionIndex - b.partitionIndex).map(({ offset }) => Number(offset))
    }
  }

  async function partitionsOf (topic: string): Promise<number[]> {
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
    return [...topics.get(topic)!.partitions.keys()]
  }
}

export const toLetter = (device: string): DeadLetterRow => ({
  id: randomUUID(),
  receivedAtMs: 1_750_240_900_000,
  transport: 'http',
  topic: null,
  clientId: 'c',
  device,
  reason: 'invalid_json',
  errors: [{ path: '/x', message: 'wrong' }],
  payload: Buffer.from('{')
})

export const toRow = (device: string, timestamp: number, fields: Record<string, unknown> = {}): ReadingRow =>
  toReadingRow({ timestamp, ...fields }, device, 1_750_240_900_000)

export const toRecord = (row: ReadingRow): OutgoingRecord => toReadingRecord({ row, transport: 'mqtt', clientId: row.device })

/** `count` different readings of `devices` devices. */
export function toRows (count: number, { devices = 20, from = 0 } = {}): ReadingRow[] {
  return Array.from({ length: count }, (_, index) =>
    toRow(`d${index % devices}`, 1_750_240_000 + from + Math.floor(index / devices), { heartRateValue: 60 + index % 40 }))
}

/** A sink in this process, stopped with the test. */
export async function startSink (
  t: Test, rig: { readonly kafka: Pick<RunningKafka, 'brokers'> }, connectionString: string, { limits = {}, variables = {} }: {
    readonly limits?: Partial<SinkLimits>
    readonly variables?: Readonly<Record<string, string>>
  } = {}
) {
  const lines: Array<{ readonly msg: string, readonly level: number }> = []
  const logger = pino({ level: 'info' }, { write (line: string) { lines.push(JSON.parse(line) as typeof lines[number]) } })
  const config = createConfig({
    DATABASE_URL: connectionString,
    KAFKA_BROKERS: rig.kafka.brokers,
    VITAL_HTTP_PORT: '0',
    VITAL_DATA_DIR: await createTestDir(t),
    ...variables
  })
  const sink = createSink({ config, logger, limits })
  t.teardown(() => sink.stop())
  const { port } = await sink.start()
  const url = `http://127.0.0.1:${port}`
  return {
    sink,
    url,
    said: (pattern: RegExp) => lines.some(({ msg }) => pattern.test(msg)),
    lines,
    health: async () => await (await fetch(`${url}/health/ready`)).json() as Health,
    isReady: async () => (await fetch(`${url}/health/ready`)).status === 200,
    metrics: () => readMetrics(url)
  }
}

/** @returns a function that gives the value of one series, or the sum over all series of a name */
async function readMetrics (url: string): Promise<(name: string) => number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const samples = [...text.matchAll(/^([a-z_]+)(\{.*\})? (\S+)$/gm)]
  return (name) => samples.filter(([, bare, labels]) => bare === name || `${bare}${labels}` === name)
    .reduce((sum, [,,, value]) => sum + Number(value), 0)
}
