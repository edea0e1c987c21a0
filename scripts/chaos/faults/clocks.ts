import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig/rig.ts'

const DAY_MS = 86_400_000

/** Sends readings of today while the gateway's clock is days away from PostgreSQL's, then runs with a right clock. */
async function run (rig: Rig, clockAheadMs: number): Promise<void> {
  await rig.startGateway({ injection: { clockAheadMs } })
  await rig.beginAccount()
  await sleep(rig.options.seconds * 1000)
  const { warnings } = await rig.readiness()
  if (!warnings.some((warning) => /clock is \d+ s/.test(warning))) rig.violate('expected', 'no warning of the clocks')
  await rig.endAccount()
  await rig.killGateway()
  await rig.startGateway()
  await rig.beginAccount()
  await sleep(500)
  await rig.endAccount()
}

export const clockBehind: Fault = {
  name: 'clock-behind',
  summary: 'the gateway\'s clock is three days behind PostgreSQL\'s: what devices send is stored, with a warning',
  database: 'own',
  seconds: { alone: 10, inAll: 3 },
  run: (rig) => run(rig, -3 * DAY_MS)
}

export const clockAhead: Fault = {
  name: 'clock-ahead',
  summary: 'the gateway\'s clock is three days ahead of PostgreSQL\'s: what devices send is stored, with a warning',
  database: 'own',
  seconds: { alone: 10, inAll: 3 },
  run: (rig) => run(rig, 3 * DAY_MS)
}
