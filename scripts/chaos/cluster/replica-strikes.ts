/** Strikes on the replica of PostgreSQL. Gateways go on without it, so only reads may notice. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createQuery, freeze, type OwnPostgres } from '../../harness/own-postgres.ts'
import type { Stage } from './stage.ts'
import type { Strike } from './strike.ts'

function replicaOf ({ replica }: Stage): OwnPostgres {
  if (replica === null) throw new Error('there is no replica')
  return replica
}

async function restartReplica (stage: Stage, signal: 'SIGINT' | 'SIGKILL'): Promise<void> {
  const replica = replicaOf(stage)
  await replica.stop(signal)
  // Every third time it is back before the gateways ask the next time how far it is.
  if (stage.between(0, 3) > 1) await sleep(stage.between(0, 8000))
  await replica.start()
}

export const REPLICA_STRIKES: readonly Strike[] = [
  { name: 'kill-replica', weight: 2, run: async (stage) => { await restartReplica(stage, 'SIGKILL') } },
  { name: 'stop-replica', weight: 1, run: async (stage) => { await restartReplica(stage, 'SIGINT') } },
  {
    name: 'freeze-replica',
    weight: 2,
    // Longer than the time-out of a query there, too.
    async run (stage) {
      const thaw = freeze(replicaOf(stage).dir)
      await sleep(stage.between(200, 9000))
      thaw()
    }
  },
  {
    name: 'pause-replay',
    weight: 2,
    // It answers meanwhile, and is older than a read may be after a while.
    async run (stage) {
      const query = createQuery(replicaOf(stage).url)
      await query('select pg_wal_replay_pause()')
      await sleep(stage.between(500, 12_000))
      await query('select pg_wal_replay_resume()')
    }
  }
]
