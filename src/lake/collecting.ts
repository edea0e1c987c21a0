/** Takes the records of a partition into the table of a plan, up to the end of the plan. */
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

/** The range of records that was taken. */
export interface Collected {
  readonly firstOffset: number
  /** Offset of the first record that was not taken. */
  readonly nextOffset: number
  /** Leader epoch of the record before it; `null`: not known. */
  readonly leaderEpoch: number | null
  /** Size of the records in Kafka. */
  readonly bytes: number
  readonly erasures: readonly PlannedErasure[]
}

export interface CollectingOptions {
  readonly table: ReadingsTable
  readonly kysely: Kysely<Tables>
  /** To be called when partitions have room again. */
  readonly onRoom: () => void
  /** Settles when records have arrived, and at times without any. */
  readonly arrival: () => Promise<void>
  readonly limits: Pick<LakeLimits, 'turnRecords'>
  readonly logger: Logger
}

/** How far to read. */
export interface Reach {
  /** Offset behind the last record of a plan, all of which is needed; `null`: no plan yet, read what there is. */
  readonly end: number | null
  /** Bound on the size of the records; the record that reaches it is the last one. */
  readonly bytesMax: number
  /** Unix milliseconds. Records that Kafka received later are not taken, so that reading ends. */
  readonly untilMs: number
  /** Whether the partition is no longer owned. */
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

  /** Whether the gateway that wrote the record did not know of an erasure of the device. The offset does not matter. */
  function isLate (device: string, record: LogRecord): boolean {
    const request = requests.get(device)
    return request !== undefined && (readSeen(record) ?? Infinity) < request
  }

  /** @returns `false`: this version must not read past the record */
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
    if (marker.kind !== 'read') return tellUnreadable(partition, offset, 'it is not a marker of an erasure')
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
    /** Number of records that no gateway wrote, since the start. */
    get unreadable () { return unreadable },
    /** Number of readings that were left out because their device was erased, since the start. */
    get erased () { return erased },
    /**
     * @returns `null`: the partition is no longer owned, or its records do not reach `end`
     * @throws errors of PostgreSQL, after a marker of an erasure
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
          // The position also passes control batches (transaction markers), which hold no records.
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
      // The log was cut back and may not have these records any more, so no plan is made of them.
      if (isAbandoned() || partition.stop?.reason === 'cut_back') return null
      release()
      return end !== null && nextOffset < end ? null : { firstOffset, nextOffset, leaderEpoch, bytes, erasures }
    }
  }
}

export type Collecting = ReturnType<typeof createCollecting>
