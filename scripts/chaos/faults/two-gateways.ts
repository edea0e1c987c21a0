import { setTimeout as sleep } from 'node:timers/promises'
import { startAnother } from '../rig/another.ts'
import type { Fault } from '../fault.ts'

export const twoGateways: Fault = {
  name: 'two-gateways',
  summary: 'two gateways on one database, the same devices on both, one killed in between: no deadlock loses anything',
  database: 'own',
  cycles: { alone: 3, inAll: 2 },
  // Few devices, so that both write the same rows of `latest` all the time.
  load: { devices: 10, httpDevices: 2, ratePerS: 800 },
  async run (rig) {
    await rig.startGateway()
    const second = await startAnother(rig)
    const { cycles } = rig.options
    await rig.repeat(async (cycle) => {
      await rig.beginAccount({ numbering: { first: 0, step: 2 } })
      await second.beginAccount()
      await sleep(rig.between(1000, 2500))
      if (cycle < cycles) {
        await rig.killGateway()
        await sleep(rig.between(100, 800))
        await rig.startGateway()
      }
      await sleep(rig.between(500, 1500))
      await rig.endAccount({ also: second })
    })
    await second.stop()
  }
}
