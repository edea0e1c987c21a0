import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig/rig.ts'

/** Cycles between two checks: a loss is found while its logs are there. */
const CYCLES_PER_ACCOUNT = 25

/** Ends the gateway after a while of load, starts it again, and checks after some cycles. */
async function restartAgainAndAgain (rig: Rig, how: { upMsMax: number, isCounted: boolean, end: () => Promise<void> }): Promise<void> {
  const { upMsMax, isCounted, end } = how
  const { cycles } = rig.options
  await rig.startGateway()
  await rig.repeat(async (cycle) => {
    if (cycle % CYCLES_PER_ACCOUNT === 1) await rig.beginAccount()
    await sleep(rig.between(100, upMsMax))
    await end()
    const isLast = cycle % CYCLES_PER_ACCOUNT === 0 || cycle === cycles
    await rig.startGateway({ isCounted: isCounted && isLast })
    if (isLast) await rig.endAccount()
  })
}

export const killGateway: Fault = {
  name: 'kill-gateway',
  summary: 'SIGKILL at a random time of 0.1 to 3 s (or --seconds) under load, again and again on the same data directory',
  database: 'embedded',
  cycles: { alone: 20, inAll: 10 },
  async run (rig) {
    const upMsMax = rig.options.seconds > 0 ? rig.options.seconds * 1000 : 3000
    await restartAgainAndAgain(rig, { upMsMax, isCounted: true, end: () => rig.killGateway() })
  }
}

export const sigterm: Fault = {
  name: 'sigterm',
  summary: 'SIGTERM under load: exit 0 within 15 s, nothing acknowledged is lost',
  database: 'embedded',
  cycles: { alone: 20, inAll: 5 },
  async run (rig) {
    let slowestStopMs = 0
    await restartAgainAndAgain(rig, {
      upMsMax: 2000,
      // The embedded PostgreSQL has been stopped too, so rows cannot be counted before the next start.
      isCounted: false,
      end: async () => {
        slowestStopMs = Math.max(slowestStopMs, await rig.stopGateway())
        rig.figures['slowestStopMs'] = Math.round(slowestStopMs)
      }
    })
  }
}
