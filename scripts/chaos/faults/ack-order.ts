import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'

/** Below the time-out of a commit. */
const LATE_MS_MAX = 400

export const ackOrder: Fault = {
  name: 'ack-order',
  summary: 'the store answers each batch at a random time, so that batches overtake each other: each client\'s acknowledgements ' +
    'stay in order',
  database: 'own',
  seconds: { alone: 20, inAll: 10 },
  async run (rig) {
    await rig.startGateway({ injection: { answersLateMs: LATE_MS_MAX } })
    await rig.beginAccount()
    await sleep(rig.options.seconds * 1000)
    await rig.endAccount()
    await rig.stopGateway()
    const told = rig.gateway.logged().find(({ msg }) => msg === 'batches overtaken by later ones')
    rig.figures['overtaken'] = Number(told?.['overtaken'] ?? 0)
    if (rig.figures['overtaken'] === 0) rig.violate('expected', 'no batch was overtaken, so nothing was proved')
    await rig.startGateway()
  }
}
