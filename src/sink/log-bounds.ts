import type { Admin, BaseOptions } from '@platformatic/kafka'
import { askLeaderEpochs, type EpochEnd } from '../kafka/ask-leader-epochs.ts'
import { askOffsets, EARLIEST } from '../kafka/ask-offsets.ts'
import type { KafkaClient } from '../kafka/load-client.ts'
import type { Place } from './place.ts'

/** Finds where the log of a partition begins and where its leader epochs end. Errors are those of Kafka. */
export interface LogBounds {
  /** Offset of the first record. */
  findFirstOffset (place: Place): Promise<number>
  /** End of a leader epoch. Also throws if the partition has no leader now. */
  findEpochEnd (place: Place, leaderEpoch: number): Promise<EpochEnd>
}

interface LogBoundsOptions {
  readonly client: KafkaClient
  readonly admin: Admin
  readonly connection: BaseOptions
  readonly limits: { readonly requestTimeoutMs: number }
}

export function createLogBounds ({ client, admin, connection, limits: { requestTimeoutMs } }: LogBoundsOptions): LogBounds {
  return {
    async findFirstOffset ({ topic, partition }) {
      return (await askOffsets(admin, topic, [partition], EARLIEST)).get(partition)!
    },
    async findEpochEnd ({ topic, partition }, leaderEpoch) {
      const [end] = await askLeaderEpochs({ client, admin, connection, requestTimeoutMs }, [{ topic, partition, leaderEpoch }])
      if (end === undefined) throw new Error(`partition ${partition} of ${topic} has no leader now`)
      return end
    }
  }
}
