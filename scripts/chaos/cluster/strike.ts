import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine } from '../../harness/engine.ts'
import type { StreamsOptions } from '../streams/engines.ts'
import type { KafkaOptions, Stage } from './stage.ts'

/** The parts of a run that a strike may need. */
export interface Given extends Pick<KafkaOptions, 'brokers' | 'ackAfter'> {
  readonly streams: StreamsOptions | null
}

/** One way to hurt one process of a cluster, and to mend it again. */
export interface Strike {
  readonly name: string
  /** Its share of all draws is its weight over the sum of all weights. */
  readonly weight: number
  /** @returns why it cannot be done here, or `null` */
  readonly obstacle?: (given: Given) => string | null
  readonly run: (stage: Stage) => Promise<void>
}

export function oneOf<One> ({ between }: Pick<Stage, 'between'>, all: readonly One[]): One {
  return all[Math.floor(between(0, all.length))]!
}

export async function restart (engine: { kill (): Promise<void>, start (): Promise<unknown> }, awayMs: number): Promise<void> {
  await engine.kill()
  await sleep(awayMs)
  await engine.start()
}

export async function freezeFor (frozen: Pick<Engine, 'freeze' | 'thaw'>, ms: number): Promise<void> {
  frozen.freeze()
  await sleep(ms)
  frozen.thaw()
}

/** @param random - from 0 to below 1 */
export function drawStrike (random: number, strikes: readonly Strike[]): Strike {
  let left = random * strikes.reduce((sum, { weight }) => sum + weight, 0)
  for (const strike of strikes) {
    left -= strike.weight
    if (left < 0) return strike
  }
  return strikes.at(-1)!
}
