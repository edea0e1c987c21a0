/** Checks at the end of a run that lakes, exports and Flink hold what PostgreSQL holds. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Violation } from '../../harness/checks/stored.ts'
import { READINGS_TOPIC } from '../../../src/kafka/records.ts'
import { settleReaders } from '../checks/settle.ts'
import type { Stage } from '../cluster/stage.ts'
import { compare, type Comparison, type Difference } from './compare.ts'
import { judgeFlink } from './flink-averages.ts'
import { gatherLake, gatherPoints, gatherStored } from './gather.ts'
import { LAKE_PREFIX, type Streams } from './streams.ts'

const SETTLE_TIMEOUT_MS = 600_000

interface JudgeOptions {
  readonly stage: Stage
  readonly streams: Streams
  /** Directory of the run. */
  readonly dir: string
  readonly violate: (checker: Violation['checker'], message: string) => void
  readonly figures: Record<string, number | string>
  readonly onRemark: (remark: string) => void
}

/** Adds what was found to the figures. Nothing is sent meanwhile. */
export async function judgeStreams (options: JudgeOptions): Promise<void> {
  const { stage, streams, violate, figures, onRemark } = options
  const partitions = stage.kafka!.partitions
  for (const [role, members] of [['lake', streams.lakes], ['export', streams.exports]] as const) {
    onRemark(`waiting for each ${role} to store what is in ${READINGS_TOPIC}`)
    const httpPorts = members.map(({ options: { httpPort } }) => httpPort)
    await settleReaders({ role, httpPorts, partitions, timeoutMs: SETTLE_TIMEOUT_MS }, violate)
    if (members.length > 0) {
      figures[`${role}PeakMiB`] = Math.round(Math.max(...members.map(({ watch }) => watch.peakRssBytes)) / 2 ** 20)
    }
  }
  await judgeCopies(options)
  if (streams.flink !== null) {
    onRemark('comparing Flink with the roll-ups')
    const { buckets, closed, leftOut, wrong } = await judgeFlink(stage.query)
    Object.assign(figures, { flinkBuckets: buckets, flinkBucketsOfRollups: closed, flinkLeftOut: leftOut, flinkEnds: streams.flink.ends })
    for (const fault of wrong) violate('C9', fault)
  }
}

async function judgeCopies ({ stage, streams, dir, violate, figures, onRemark }: JudgeOptions): Promise<void> {
  const { store, influxDb } = streams
  const folder = join(dir, 'compared')
  await mkdir(folder)
  const devices = (await stage.query<{ device: string }>('select device from latest order by device')).map(({ device }) => device)
  onRemark('comparing the lake and InfluxDB with PostgreSQL')
  await gatherStored(stage.query, folder, devices)
  if (store !== null) figures['lakeFiles'] = await gatherLake(store, LAKE_PREFIX, folder)
  if (influxDb !== null) await gatherPoints(influxDb.url, folder, devices)
  const found = await compare(folder, { lake: store !== null, points: influxDb !== null })
  for (const message of findFaults(found, Number(figures['add-partitions'] ?? 0) > 0)) violate('C9', message)
  figures['storedReadings'] = found.stored
  if (found.lake !== null) Object.assign(figures, { lakeRows: found.lake.rows, lakeReadings: found.lake.ids })
  if (found.points !== null) {
    const { points, collisions, again } = found.points
    Object.assign(figures, { influxPoints: points, influxCollisions: collisions, influxPointsOfTwoPartitions: again })
  }
  await rm(folder, { recursive: true })
}

/** @param mayMove - partitions were added, so that a reading that was sent again may be a point of two partitions */
export function findFaults ({ stored, lake, points }: Comparison, mayMove: boolean): string[] {
  const tell = (what: string, { count, example }: Difference) => count === 0 ? [] : [`${what}: ${count}, such as ${example}`]
  return [
    ...lake === null
      ? []
      : [
          ...tell('readings that the lake lacks', lake.missing),
          ...tell('readings of the lake that PostgreSQL lacks', lake.unknown),
          ...lake.ids === stored ? [] : [`the lake has ${lake.ids} ids for ${stored} readings`]
        ],
    ...points === null
      ? []
      : [
          ...tell('readings that InfluxDB lacks', points.missing),
          ...tell('points of InfluxDB that PostgreSQL lacks', points.unknown),
          ...tell('points of InfluxDB with other numbers', points.altered),
          ...points.again === 0 || mayMove ? [] : [`points of InfluxDB that are there twice: ${points.again}`]
        ]
  ]
}
