import { setTimeout as sleep } from 'node:timers/promises'
import { freeze } from '../../harness/own-postgres.ts'
import type { Engine } from './engine.ts'
import type { Stage } from './stage.ts'

/** One way to hurt one process of a cluster, and to mend it again. */
export interface Strike {
  readonly name: string
  /** Of all draws. */
  readonly weight: number
  readonly run: (stage: Stage) => Promise<void>
}

function oneOf<One> ({ between }: Pick<Stage, 'between'>, all: readonly One[]): One {
  return all[Math.floor(between(0, all.length))]!
}

const gatewayOf = (stage: Stage) => oneOf(stage, stage.gateways)

async function restart (engine: { kill (): Promise<void>, start (): Promise<unknown> }, awayMs: number): Promise<void> {
  await engine.kill()
  await sleep(awayMs)
  await engine.start()
}

async function freezeFor (frozen: Pick<Engine, 'freeze' | 'thaw'>, ms: number): Promise<void> {
  frozen.freeze()
  await sleep(ms)
  frozen.thaw()
}

/** Longer than the lease of a gateway: its sessions go to another meanwhile. */
const LAPSE_MS = 7000

export const STRIKES: readonly Strike[] = [
  {
    name: 'kill-gateway',
    weight: 6,
    async run (stage) {
      const gateway = gatewayOf(stage)
      await gateway.kill()
      await sleep(stage.between(0, 8000))
      await stage.startGateway(gateway)
    }
  },
  {
    name: 'stop-gateway',
    weight: 2,
    async run (stage) {
      const gateway = gatewayOf(stage)
      await gateway.stop()
      await sleep(stage.between(0, 1000))
      await stage.startGateway(gateway)
    }
  },
  { name: 'freeze-gateway', weight: 2, run: async (stage) => { await freezeFor(gatewayOf(stage), stage.between(200, 3000)) } },
  {
    name: 'lapse-gateway',
    weight: 1,
    run: async (stage) => { await freezeFor(gatewayOf(stage), stage.between(LAPSE_MS, LAPSE_MS + 3000)) }
  },
  { name: 'kill-redis', weight: 2, run: async ({ redis, between }) => { await restart(redis, between(0, 3000)) } },
  { name: 'freeze-redis', weight: 2, run: async ({ redis, between }) => { await freezeFor(redis, between(100, 4000)) } },
  { name: 'cut-redis', weight: 1, run: async ({ redis }) => { await redis.cutAll() } },
  { name: 'kill-haproxy', weight: 1, run: async ({ haproxy, between }) => { await restart(haproxy, between(0, 1000)) } },
  { name: 'freeze-haproxy', weight: 1, run: async ({ haproxy, between }) => { await freezeFor(haproxy, between(100, 2000)) } },
  {
    name: 'cut-clients',
    weight: 1,
    async run ({ haproxy, gateways, between }) { await haproxy.cutAll(Math.floor(between(0, gateways.length))) }
  },
  {
    name: 'kill-postgres',
    weight: 1,
    async run ({ postgres, between }) {
      await postgres.stop('SIGKILL')
      await sleep(between(0, 2000))
      await postgres.start()
    }
  },
  {
    name: 'freeze-postgres',
    weight: 1,
    async run ({ postgres, between }) {
      const thaw = freeze(postgres.dir)
      await sleep(between(200, 4000))
      thaw()
    }
  }
]

/** The same where Kafka stands between the gateways and PostgreSQL. */
export const KAFKA_STRIKES: readonly Strike[] = [
  { name: 'kill-broker', weight: 4, run: async (stage) => { await restart(oneOf(stage, stage.brokers), stage.between(0, 5000)) } },
  {
    name: 'kill-two-brokers',
    weight: 1,
    async run ({ brokers, between }) {
      const struck = brokers.slice(0, 2)
      await Promise.all(struck.map((broker) => broker.kill()))
      await sleep(between(0, 5000))
      await Promise.all(struck.map((broker) => broker.start()))
    }
  },
  { name: 'freeze-broker', weight: 2, run: async (stage) => { await freezeFor(oneOf(stage, stage.brokers), stage.between(200, 6000)) } },
  {
    name: 'kill-sink',
    weight: 4,
    run: async (stage) => { await restart(oneOf(stage, stage.sinks), stage.between(0, 5000)) }
  },
  {
    name: 'stop-sink',
    weight: 1,
    async run (stage) {
      const sink = oneOf(stage, stage.sinks)
      await restart({ kill: () => sink.stop(), start: () => sink.start() }, stage.between(0, 1000))
    }
  },
  // Longer than the group waits for a member: its partitions go to the other sink meanwhile.
  { name: 'freeze-sink', weight: 2, run: async (stage) => { await freezeFor(oneOf(stage, stage.sinks), stage.between(200, 7000)) } }
]

/** @param random - from 0 to below 1 */
export function drawStrike (random: number, strikes: readonly Strike[]): Strike {
  let left = random * strikes.reduce((sum, { weight }) => sum + weight, 0)
  for (const strike of strikes) {
    left -= strike.weight
    if (left < 0) return strike
  }
  return strikes.at(-1)!
}
