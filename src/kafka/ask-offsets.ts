import type { Admin } from '@platformatic/kafka'

/** Kafka's special timestamps for the first offset of a partition, and for the one behind its last record. */
export const EARLIEST = -2n
export const LATEST = -1n

/**
 * Asks Kafka for one offset of each partition.
 * @param timestamp - Unix milliseconds: asks for the first record that Kafka received then or later; or one of the
 *   special timestamps above
 * @returns offsets by partition; -1: there is no such record
 * @throws errors of the client
 */
export async function askOffsets (
  admin: Pick<Admin, 'listOffsets'>, topic: string, partitions: Iterable<number>, timestamp: bigint
): Promise<ReadonlyMap<number, number>> {
  const asked = Array.from(partitions, (partitionIndex) => ({ partitionIndex, timestamp }))
  const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions: asked }] })
  return new Map(found!.partitions.map(({ partitionIndex, offset }) => [partitionIndex, Number(offset)]))
}
