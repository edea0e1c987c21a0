/** Takes the records of a partition into the table of a plan, as far as the plan is to reach. */
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { selectRequestedErasures } from '../../db/erase/log-erasures.ts'
import type { Tables } from '../../db/tables.ts'
import { ERASURE_SCHEMA, readErasureRecord } from '../kafka/erasure-record.ts'
import { readReadingRecord } from '../kafka/reading-record.ts'
import { type LogRecord, readSeen } from '../kafka/records.ts'
import type { QueuedRecord, SinkPartition } from '../sink/partition.ts'
import type { LakeLimits } from './limits.ts'
import type { PlannedErasure } from './plan.ts'
import type { ReadingsTable } from './readings-table.ts'

/** What was taken in. */
export interface Collected {
  readonly firstOffset: number
  /** Of the first record that was not. */
  readonly nextOffset: number
  /** Of the record before that, as Kafka counts leaders; `null`: not known. */
  readonly leaderEpoch: number | null
  /** Of its records, as Kafka has them. */
  readonly bytes: number
  readonly erasures: readonly PlannedErasure[]
}

export interface CollectingOptions {
  readonly table: ReadingsTable
  readonly kysely: Kysely<Tables>
  /** Partitions have room again. */
  readonly onRoom: () => void
  /** Settles when records have come, and now and then without. */
  readonly arrival: () => Promise<void>
  readonly limits: Pick<LakeLimits, 'turnRecords'>
  readonly logger: Logger
}

/** How far is to be read. */
export interface Reach {
  /** Offset behind the last record, where a plan says so; less is no use then. `null`: as far as there are records. */
  readonly end: number | null
  /** Of records; the one that reaches it is the last one. */
  readonly bytesMax: number
  /** Records that Kafka got later are left, so that reading ends: Unix milliseconds. */
  readonly untilMs: number
  /** The partition is not owned any more. */
  readonly isAbandoned: () => boolean
}

export function createCollecting ({ table, kysely, onRoom, arrival, limits, logger }: CollectingOptions) {
  /** Latest request to erase a device, by device. */
  let requests: ReadonlyMap<string, number> = new Map()
  let [unreadable, erased] = [0, 0]

  /** @throws errors of PostgreSQL */
  async function loadRequests (): Promise<void> {
    const latest = new Map<string, number>()
    for (const { device, request } of await selectRequestedErasures(kysely)) {
      latest.set(device, Math.max(request, latest.get(device) ?? 0))
    }
    requests = latest
  }

  /** Its gateway did not know of an erasure of the device, wherever the record stands. */
  function isLate (device: string, record: LogRecord): boolean {
    const request = requests.get(device)
    return request !== undefined && (readSeen(record) ?? Infinity) < request
  }

  /** @returns `false`: this version must not go past it */
  function take (partition: SinkPartition, { record, offset }: QueuedRecord, erasures: PlannedErasure[]): boolean | Promise<true> {
    const read = readReadingRecord(record)
    if (read.kind === 'read') {
      if (isLate(read.value.row.device, record)) erased++
      else table.add({ ...read.value, offset })
      return true
    }
    if (read.kind === 'unreadable') return tellUnreadable(partition, offset, read.why)
    if (read.schema !== ERASURE_SCHEMA) return stopUnknown(partition, offset, read.schema)
    const marker = readErasureRecord(record)
    if (marker.kind !== 'read') return tellUnreadable(partition, offset, 'it is no marker of an erasure')
    const { device, marker: erasure } = marker.value
    erasures.push({ erasure, device, offset })
    // The erasure is registered before its marker is written.
    return loadRequests().then(() => table.forget(device)).then(() => true)
  }

  function tellUnreadable ({ place: { topic, partition } }: SinkPartition, offset: number, why: string): true {
    unreadable++
    logger.warn({ topic, partition, offset }, `a record that no gateway wrote is left out: ${why}`)
    return true
  }

  function stopUnknown (partition: SinkPartition, offset: number, schema: string): false {
    const { topic, partition: number } = partition.place
    partition.halt('unknown_schema', `record ${offset} of partition ${number} of ${topic} has the schema ${schema}, which this version ` +
      'does not know: upgrade the lake; the partition waits', logger)
    return false
  }

  return {
    loadRequests,
    /** Records that no gateway wrote; readings of devices that are erased. Since the start. */
    get unreadable () { return unreadable },
    get erased () { return erased },
    /**
     * @returns `null`: it is not owned any more, or cannot be read on though `reach` says so
     * @throws errors of PostgreSQL, where a marker was met
     */
    async collect (partition: SinkPartition, { end, bytesMax, untilMs, isAbandoned }: Reach): Promise<Collected | null> {
      await table.clear()
      const firstOffset = partition.storedOffset
      const erasures: PlannedErasure[] = []
      let leaderEpoch = partition.claim?.leaderEpoch ?? null
      let [nextOffset, bytes, taken] = [firstOffset, 0, 0]
      const release = () => {
        partition.release(taken, partition.claim!)
        taken = 0
        onRoom()
      }
      while (bytes < bytesMax && !isAbandoned()) {
        const queued = partition.at(taken)
        const last = end ?? Math.max(partition.highWatermark, partition.fetchOffset)
        if (queued === undefined) {
          release()
          // Behind what no reader needs: marks of transactions.
          const behind = Math.min(partition.fetchOffset, last)
          if (behind > nextOffset) [nextOffset, leaderEpoch] = [behind, partition.fetchEpoch]
          if (nextOffset >= last || partition.stop !== null) break
          await arrival()
          continue
        }
        if (end !== null && queued.offset >= end) nextOffset = end
        if (nextOffset === end || (end === null && queued.timestampMs > untilMs)) break
        const isTaken = take(partition, queued, erasures)
        if (typeof isTaken === 'boolean' ? !isTaken : !await isTaken) break
        nextOffset = queued.offset + 1
        leaderEpoch = queued.leaderEpoch
        bytes += queued.bytes
        if (++taken < limits.turnRecords) continue
        if (!isAbandoned()) release()
        await new Promise((resolve) => { setImmediate(resolve) })
      }
      // Of a log that brokers cut back nothing is planned that it may not have any more.
      if (isAbandoned() || partition.stop?.reason === 'cut_back') return null
      release()
      return end !== null && nextOffset < end ? null : { firstOffset, nextOffset, leaderEpoch, bytes, erasures }
    }
  }
}

export type Collecting = ReturnType<typeof createCollecting>
