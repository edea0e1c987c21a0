import type { Test } from 'tap'
import { murmur2 } from '../../src/kafka/murmur2.ts'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { connectClient } from '../helpers/gateway.ts'
import type { TestDatabase } from '../helpers/postgres.ts'
import type { createSinkRig } from './rig.ts'

type Rig = Awaited<ReturnType<typeof createSinkRig>>
type Query = TestDatabase['query']

const partitionOf = (device: string, partitions: number) => (murmur2(Buffer.from(device)) & 0x7fffffff) % partitions

/** A device whose partition changes when three partitions become six. */
export const MOVED = Array.from({ length: 100 }, (_, n) => `m${n}`).find((device) => partitionOf(device, 3) !== partitionOf(device, 6))!

/** The variables of a gateway that writes to the log. */
export const toJournal = ({ kafka }: Pick<Rig, 'kafka'>, connectionString: string) => ({
  DATABASE_URL: connectionString, VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true'
})

/** The times of a device's readings in PostgreSQL, in Unix seconds. */
export const timesOf = async (query: Query, device: string) => (await query<{ time: number }>(
  'select extract(epoch from time)::int as time from readings where device = $1 order by 1', [device])).map(({ time }) => time)

/** @returns once all are acknowledged */
export async function publishTimes (t: Test, mqttPort: number, device: string, timestamps: readonly number[]): Promise<void> {
  const client = await connectClient(t, mqttPort)
  for (const timestamp of timestamps) {
    await client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp, heartRateValue: 60 }), { qos: 1 })
  }
  await client.endAsync()
}

/** Whether sinks of a group have stored all records of the log. */
export async function isStored (rig: Pick<Rig, 'ends'>, query: Query, group = 'vital-sink'): Promise<boolean> {
  const stored = await query<{ partition: number, next: number }>(`
    select partition, next_offset::int as next from sink_offsets where topic = '${READINGS_TOPIC}' and consumer_group = '${group}'`)
  const ends = await rig.ends()
  return stored.length === ends.length && stored.every(({ partition, next }) => next === ends[partition])
}
