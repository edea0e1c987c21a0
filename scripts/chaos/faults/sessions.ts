import { setTimeout as sleep } from 'node:timers/promises'
import { createWard } from '../devices/ward.ts'
import type { Fault } from '../fault.ts'

const SUBSCRIBERS = 20
const TOPICS = Array.from({ length: 6 }, (_, index) => `ward/${index % 2}/bed-${index}`)
const ARRIVE_TIMEOUT_MS = 20_000

export const sessions: Fault = {
  name: 'sessions',
  summary: '20 persistent subscribers, overlapping filters of mixed QoS, cut at random: each gets what it is owed, in order',
  database: 'own',
  cycles: { alone: 500, inAll: 60 },
  load: { devices: 10, httpDevices: 1, ratePerS: 100 },
  async run (rig) {
    await rig.startGateway()
    rig.watch.otherConnections += SUBSCRIBERS + 1
    const ward = createWard({
      port: () => rig.mqttPort,
      subscribers: SUBSCRIBERS,
      topics: [TOPICS],
      willClients: 0,
      publishIntervalMs: 20,
      isClustered: false,
      random: (min, max) => rig.between(min, max),
      onViolation: (message) => { rig.violate('expected', message) },
      onPublisherClose: () => { rig.violate('expected', 'the publisher of the sessions was cut off') }
    })
    ward.connect()
    if (await rig.until(() => ward.isSubscribed, ARRIVE_TIMEOUT_MS) === null) throw new Error('not all subscribers were accepted')
    await rig.beginAccount()
    ward.startPublishing()
    await rig.repeat(async () => {
      await sleep(rig.between(5, 60))
      ward.cut()
    })
    ward.stopPublishing()
    await rig.until(() => ward.unacknowledged === 0 && ward.missing() === 0, ARRIVE_TIMEOUT_MS)
    const missing = ward.missing()
    if (missing > 0) rig.violate('expected', `${missing} deliveries of QoS 1 or 2 never came`)
    rig.figures['published'] = ward.published
    rig.figures['repeatedAtQoS1'] = ward.repeated
    rig.count('sessionViolations', ward.violations)
    ward.end()
    await rig.endAccount()
  }
}
