import { type Cut, cutLog, type LoggedBatch, toLogDir } from '../../scripts/harness/kafka-log-files.ts'
import type { RunningKafka } from './kafka.ts'

/**
 * Kills a broker, cuts the end off one log as a power failure may do, and starts the broker again.
 * @param keep - bytes of the last segment that are kept
 * @returns the records that were lost
 */
export async function failPower (
  kafka: RunningKafka, { topic, partition = 0 }: { readonly topic: string, readonly partition?: number },
  keep: (batches: readonly LoggedBatch[]) => number
): Promise<Cut> {
  await kafka.kill()
  const cut = await cutLog(toLogDir(kafka.dataDir, topic, partition), keep)
  if (cut === null) throw new Error('nothing was lost')
  await kafka.start()
  return cut
}

/** Cuts within the batch that holds an offset, so that this record and all later ones are lost. */
export const amid = (offset: number) => (batches: readonly LoggedBatch[]) => batches.find(({ lastOffset }) => lastOffset >= offset)!.at + 70
