/** Readers of what a replica is read for, beside devices and sessions (C10), and whether it was read at all. */
import type { Random } from '../../harness/random.ts'
import { createPositionReaders } from '../devices/position-readers.ts'
import type { Stage } from './stage.ts'
import { createReplicaTally } from './replica-tally.ts'

const VIOLATIONS_TOLD = 20

interface ReplicaReadersOptions {
  readonly stage: Pick<Stage, 'gateways' | 'httpPort' | 'violate'>
  readonly calmSinceMs: () => number
  /** Of its own: what is struck must not depend on how fast readers are. */
  readonly random: Random
}

export type ReplicaReaders = ReturnType<typeof createReplicaReaders>

export function createReplicaReaders ({ stage, calmSinceMs, random }: ReplicaReadersOptions) {
  const { gateways, httpPort, violate } = stage
  let violations = 0
  const tally = createReplicaTally(gateways)
  const readers = createPositionReaders({
    postPort: httpPort,
    gatewayPorts: gateways.map(({ options }) => options.httpPort),
    calmSinceMs,
    random,
    onViolation: (message) => { if (violations++ < VIOLATIONS_TOLD) violate('C10', message) }
  })

  /** Reads while something is done. */
  async function beside (work: () => Promise<void>): Promise<void> {
    const ending = new AbortController()
    await Promise.all([work().finally(() => { ending.abort() }), readers.run(ending.signal), tally.run(ending.signal)])
  }

  return {
    beside,

    /** The same without strikes: the replica must have answered each gateway, else no check can have looked at it. */
    async besideCalm (work: () => Promise<void>): Promise<void> {
      await tally.look()
      const before = tally.totals()
      await beside(work)
      for (const [index, { name, replica }] of tally.totals().entries()) {
        if (replica === before[index]!.replica) violate('C10', `${name}: the replica answered nothing in a time without strikes`)
      }
    },

    figures () {
      const { replica, unreached, stale, failed } = tally.sum()
      const by = { readByReplica: replica, readByPrimaryUnreached: unreached, readByPrimaryStale: stale, readByPrimaryFailed: failed }
      return { ...readers.figures, ...by, readViolations: violations }
    }
  }
}
