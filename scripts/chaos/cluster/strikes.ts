import { setTimeout as sleep } from 'node:timers/promises'
import { freeze } from '../../harness/own-postgres.ts'
import type { Stage } from './stage.ts'
import { freezeFor, oneOf, restart, type Strike } from './strike.ts'

const gatewayOf = (stage: Stage) => oneOf(stage, stage.gateways)

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
