/**
 * Erasures of devices whose records wait in Kafka. A gateway registers an erasure in PostgreSQL and writes its marker
 * into each partition. In each partition:
 *
 *   records of the device ──> refused, `erased` ──> marker ──> PostgreSQL is cleared? ── no ──> the partition waits
 *                                                                      └── yes ──> records of the device are stored
 *
 * A record behind the marker also counts as older if its gateway did not know of the erasure when it wrote it: the
 * gateway was frozen or cut off from PostgreSQL, or Kafka took late a write that the gateway had given up.
 *
 * PostgreSQL refuses a batch (VS002) of a sink that has not read the latest registered erasures. The sink then reads
 * them and checks its records again.
 */
import type { Kysely } from 'kysely'
import {
  type ErasureMark, noteMarkers, registerLogErasure, type RequestedErasure, selectErasureMarks, selectRequestedErasures
} from '../../db/erase/log-erasures.ts'
import type { Claim } from '../../db/queries/claim-offset.ts'
import type { Tables } from '../../db/tables.ts'
import { isOf } from '../ingest/journal/without-erased.ts'
import type { ErasureMarker } from '../kafka/erasure-record.ts'
import { type LogRecord, readSeen } from '../kafka/records.ts'
import type { Decoded } from './decode.ts'
import { type Assigned, type Place, toKey } from './place.ts'

/** What to do with a record; `hold`: it may be stored once PostgreSQL is cleared of its device. */
export type Verdict = 'keep' | 'drop' | 'hold'

/** Erasures, as one partition applies them. */
export class PartitionErasures {
  #marks: readonly ErasureMark[] = []
  #requested: readonly RequestedErasure[] = []
  readonly #met = new Set<string>()

  load (marks: readonly ErasureMark[], requested: readonly RequestedErasure[]): void {
    this.#marks = marks
    this.#requested = requested
  }

  /** Notes that a marker's offset in this partition is stored, so the partition may be read on. */
  meet (marker: string): void {
    this.#met.add(marker)
  }

  isMet (marker: string): boolean {
    return this.#met.has(marker) || this.#marks.some((mark) => mark.marker === marker && mark.markerOffset !== null)
  }

  judge (decoded: Decoded, offset: number, record: LogRecord): Verdict {
    for (const { device, request } of this.#requested) {
      if (isOfDevice(decoded, device) && (readSeen(record) ?? Infinity) < request) return 'drop'
    }
    let verdict: Verdict = 'keep'
    for (const { device, markerOffset, isCleared } of this.#marks) {
      if (isCleared && markerOffset !== null && offset >= markerOffset) continue
      if (!isOfDevice(decoded, device)) continue
      if (markerOffset === null || offset < markerOffset) return 'drop'
      verdict = 'hold'
    }
    return verdict
  }
}

function isOfDevice (decoded: Decoded, device: string): boolean {
  if (decoded.kind === 'reading') return decoded.row.device === device
  return decoded.kind === 'letter' && isOf(decoded.row, device)
}

/** A partition, as far as erasures are concerned. */
export interface ErasingPartition {
  readonly place: Assigned
  claim: Claim | null
  readonly erasures: PartitionErasures
}

/** Erasures in PostgreSQL, for the partitions of one consumer group. */
export function createSinkErasures ({ kysely, group }: { readonly kysely: Kysely<Tables>, readonly group: string }) {
  /** Reads the registered erasures. @throws errors of PostgreSQL */
  async function reload (partitions: readonly ErasingPartition[]): Promise<void> {
    if (partitions.length === 0) return
    const { seen, marks } = await selectErasureMarks(kysely, group, partitions.map(({ place }) => place))
    const requested = await selectRequestedErasures(kysely)
    for (const partition of partitions) {
      partition.erasures.load(marks.filter((mark) => toKey(mark) === toKey(partition.place)), requested)
      if (partition.claim !== null) partition.claim = { ...partition.claim, seenMarker: seen }
    }
  }

  return {
    reload,
    /** Checks for waiting partitions whether PostgreSQL is cleared by now. @throws errors of PostgreSQL */
    look: (partitions: Iterable<ErasingPartition & Held>) => reload([...partitions].filter(({ heldSinceMs }) => heldSinceMs !== null)),
    /**
     * Stores the offset of a marker, and its erasure if this database does not know it.
     * @throws errors of PostgreSQL
     */
    async learn (partition: ErasingPartition, { marker, device, partitions }: ErasureMarker, offset: number): Promise<void> {
      const { topicId, partition: number } = partition.place
      const { id } = await registerLogErasure(kysely, { device, by: { marker }, partitions })
      await noteMarkers(kysely, id, [{ topicId, partition: number, offset }])
      await reload([partition])
      partition.erasures.meet(marker)
    }
  }
}

interface Held {
  readonly place: Place
  readonly heldSinceMs: number | null
}

/** Warnings for partitions that have waited for long: perhaps no gateway is running. */
export function toHeldWarnings (partitions: Iterable<Held>, toldMs: number): string[] {
  const nowMs = performance.now()
  return [...partitions].filter(({ heldSinceMs }) => heldSinceMs !== null && nowMs - heldSinceMs > toldMs).map(({ place }) =>
    `partition ${place.partition} of ${place.topic} waits until a gateway has cleared PostgreSQL of a device that is being erased`)
}

export type SinkErasures = ReturnType<typeof createSinkErasures>
