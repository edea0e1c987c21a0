/** A source of numbers that its seed decides. */
export interface Random {
  /** Uniform in [min, max). */
  readonly between: (min: number, max: number) => number
  /** Normally distributed with mean 0 and standard deviation 1. */
  readonly normal: () => number
}

/**
 * Mulberry32: 32 bits of state are ample for vital signs, and a device costs one number of memory.
 * @param seed - whole number; neighbouring seeds give unrelated sequences
 * @see https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
 */
export function createRandom (seed: number): Random {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b)
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    between: (min, max) => min + next() * (max - min),
    // Box-Muller; 1 - next() is never 0, whose logarithm would be infinite.
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  }
}
