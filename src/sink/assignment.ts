/**
 * The partitions that the group has assigned to this sink. Each is claimed in PostgreSQL before it is read, and given
 * up once no batch with its records is under way.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Claim } from '../../db/queries/claim-offset.ts'
import type { Decoded } from './decode.ts'
import type { SinkLimits } from './limits.ts'
import { SinkPartition } from './partition.ts'
import { type Assigned, toKey } from './place.ts'

const TOLD_EVERY_MS = 30_000

export interface AssignmentOptions {
  /** Finds the name of a topic. @throws errors of Kafka */
  readonly findTopic: (topicId: string) => Promise<string | undefined>
  /** @throws errors of PostgreSQL */
  readonly claim: (partition: SinkPartition) => Promise<Claim>
  /** Called when a partition was claimed and may be read. */
  readonly onClaimed: () => void
  /** Called with records that were taken into a batch and will be read again, perhaps by another sink. */
  readonly onForgotten: (records: readonly Decoded[]) => void
  readonly limits: SinkLimits
  readonly logger: Logger
}

export class Assignment {
  readonly #options: AssignmentOptions
  readonly #stopping = new AbortController()
  readonly #partitions = new Map<string, SinkPartition>()
  readonly #claiming = new Set<Promise<void>>()
  #toldAtMs = -Infinity

  constructor (options: AssignmentOptions) {
    this.#options = options
  }

  get partitions (): Iterable<SinkPartition> {
    return this.#partitions.values()
  }

  /** Partitions that may be read now and have room. @param bytesMax - bound on the bytes of all partitions together */
  fetchable (bytesMax: number): SinkPartition[] {
    const { limits } = this.#options
    let bytes = 0
    for (const partition of this.partitions) bytes += partition.bytes
    if (bytes >= bytesMax) return []
    return [...this.partitions].filter((partition) =>
      !partition.isRevoked && (partition.isEmpty || !partition.isWaiting) && partition.state(limits.partitionBytesMax) === 'reading')
  }

  assign (places: readonly Assigned[]): void {
    for (const place of places) this.#begin(place, 0)
  }

  /** Gives up partitions that the group takes away. Records that were read are stored first, within `waitMs`. */
  async revoke (places: readonly Assigned[], waitMs = this.#options.limits.revokeMs): Promise<void> {
    const revoked = places.flatMap((place) => this.#partitions.get(toKey(place)) ?? [])
    for (const partition of revoked) partition.isRevoked = true
    const untilMs = performance.now() + waitMs
    const isStopped = ({ stop }: SinkPartition) => stop !== null && stop.reason !== 'cut_back'
    const isDone = () => revoked.every((partition) => partition.isEmpty || isStopped(partition) || partition.claim === null)
    while (!isDone() && performance.now() < untilMs) await sleep(10)
    for (const partition of revoked) this.#drop(partition)
  }

  /** Drops partitions that the group has already given to others. */
  lose (places: readonly Assigned[]): void {
    for (const place of places) {
      const partition = this.#partitions.get(toKey(place))
      if (partition !== undefined) this.#drop(partition)
    }
  }

  /** Called when another sink has claimed a partition that the group still assigns to this one. */
  replaced (partition: SinkPartition): void {
    this.#options.onForgotten(partition.reset())
    this.#claimAgain(partition, this.#options.limits.reclaimMs)
  }

  /** Called when no batch holds records of a partition any more. */
  idle (partition: SinkPartition): void {
    if (partition.isDropped) this.#options.onForgotten(partition.reset())
  }

  /** Claims stopped partitions again when they are due. Called each second. */
  look (): void {
    for (const partition of this.partitions) {
      const { stop, cut, isBusy, isEmpty, claim } = partition
      if (stop === null || isBusy || claim === null) continue
      const isForgotten = stop.reason === 'unknown_schema' || (stop.reason === 'cut_back' && cut === null)
      if (!isEmpty && !isForgotten) continue
      if (cut === null && performance.now() - stop.atMs < this.#options.limits.stoppedMs) continue
      this.#options.onForgotten(partition.reset())
      stop.atMs = performance.now()
      this.#claimAgain(partition, 0)
    }
  }

  /** Settles when nothing is being claimed. */
  async stop (): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#claiming)
  }

  #begin (place: Assigned, delayMs: number): void {
    const partition = new SinkPartition({ ...place, topic: '' }, performance.now())
    this.#partitions.set(toKey(place), partition)
    this.#claimAgain(partition, delayMs)
  }

  #drop (partition: SinkPartition): void {
    partition.isRevoked = true
    partition.isDropped = true
    const key = toKey(partition.place)
    if (this.#partitions.get(key) === partition) this.#partitions.delete(key)
    // A batch that is under way may still be stored, unless another sink claims the partition first.
    if (!partition.isBusy) this.#options.onForgotten(partition.reset())
  }

  #claimAgain (partition: SinkPartition, delayMs: number): void {
    const claiming = this.#claim(partition, delayMs).finally(() => { this.#claiming.delete(claiming) })
    this.#claiming.add(claiming)
  }

  async #claim (partition: SinkPartition, delayMs: number): Promise<void> {
    const { claim, findTopic, onClaimed, limits } = this.#options
    const { signal } = this.#stopping
    const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => {})
    await pause(delayMs)
    for (let failures = 0; !signal.aborted && !partition.isRevoked; failures++) {
      try {
        const topic = await findTopic(partition.place.topicId)
        if (topic !== undefined) {
          partition.place = { ...partition.place, topic }
          const claimed = await claim(partition)
          if (partition.isRevoked) return
          partition.begin(claimed)
          onClaimed()
          return
        }
      } catch (error) {
        this.#tell(error)
      }
      await pause(Math.min(limits.retryMsMax, limits.retryMsMin * 2 ** failures))
    }
  }

  #tell (error: unknown): void {
    if (performance.now() - this.#toldAtMs < TOLD_EVERY_MS || this.#stopping.signal.aborted) return
    this.#toldAtMs = performance.now()
    this.#options.logger.error({ err: error }, 'a partition cannot be taken over now; trying again')
  }
}
