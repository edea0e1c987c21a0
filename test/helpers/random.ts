import { Random } from '../../scripts/harness/random.ts'

/** Numbers in [0, 1), so that a random test can be run again from its printed seed. */
export function createRandom (seed: number): () => number {
  const random = new Random(seed)
  return () => random.next()
}
