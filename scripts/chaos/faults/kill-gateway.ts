import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'

/** Cycles between two checks: a ledger of them fits in memory, and a loss is found while its logs are there. */
const CYCLES_PER_ACCOUNT = 25

export const killGateway: Fault = {
  name: 'kill-gateway',
  summary: 'SIGKILL at a random time of 0.1 to 3 s under load, again and again on the same data directory',
  database: 'embedded',
  cycles: 20,
  cyclesInAll: 10,
  async run (rig) {
    const { cycles } = rig.options
    await rig.startGateway()
    for (let cycle = 1; cycle <= cycles; cycle++) {
      if (cycle % CYCLES_PER_ACCOUNT === 1) await rig.beginAccount()
      // Most of the first tenths of a second go into reconnecting.
      await sleep(rig.between(100, 3000))
      await rig.killGateway()
      const isLast = cycle % CYCLES_PER_ACCOUNT === 0 || cycle === cycles
      await rig.startGateway({ isCounted: isLast })
      if (isLast) await rig.endAccount()
      rig.cycleDone()
    }
  }
}
