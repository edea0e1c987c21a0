import { type Cut, cutLog, type LoggedBatch, toLogDir } from '../../scripts/harness/kafka-log-files.ts'
import type { RunningKafka } from './kafka.ts'

/**
 * Ends a broker as a failure of its power does, which takes the end of one log along, and starts it again.
 * @param keep - bytes of the last segment that are kept
 * @returns what is missing
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

/** Within the batch that holds an offset: that record and what is behind it is lost. */
export const amid = (offset: number) => (batches: readonly LoggedBatch[]) => batches.find(({ lastOffset }) => lastOffset >= offset)!.at + 70
