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
  seconds: 0,
  secondsInAll: 0,
  async run (rig) {
    const { cycles } = rig.options
    await rig.startGateway()
    for (let cycle = 1; cycle <= cycles; cycle++) {
      if (cycle % CYCLES_PER_ACCOUNT === 1) await rig.beginAccount()
      await sleep(rig.between(100, 3000))
      await rig.killGateway()
      const isLast = cycle % CYCLES_PER_ACCOUNT === 0 || cycle === cycles
      await rig.startGateway({ isCounted: isLast })
      if (isLast) await rig.endAccount()
      rig.cycleDone()
    }
  }
}

export const sigterm: Fault = {
  name: 'sigterm',
  summary: 'SIGTERM under load: exit 0 within 15 s, nothing acknowledged is lost',
  database: 'embedded',
  cycles: 20,
  cyclesInAll: 5,
  seconds: 0,
  secondsInAll: 0,
  async run (rig) {
    const { cycles } = rig.options
    let slowestStopMs = 0
    await rig.startGateway()
    for (let cycle = 1; cycle <= cycles; cycle++) {
      if (cycle % CYCLES_PER_ACCOUNT === 1) await rig.beginAccount()
      await sleep(rig.between(100, 2000))
      slowestStopMs = Math.max(slowestStopMs, await rig.stopGateway())
      rig.figures['slowestStopMs'] = Math.round(slowestStopMs)
      await rig.startGateway()
      if (cycle % CYCLES_PER_ACCOUNT === 0 || cycle === cycles) await rig.endAccount()
      rig.cycleDone()
    }
  }
}
