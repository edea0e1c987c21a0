import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { LedgerEntries } from '../../harness/checks/ledger-file.ts'
import { POISON_FIELD } from '../../harness/devices/made-up-reading.ts'

export const poisonRows: Fault = {
  name: 'poison-rows',
  summary: 'arrays of 1,000 with \\u0000, an overflow and rows that only a CHECK constraint refuses: those become dead letters, no other',
  database: 'own',
  seconds: { alone: 15, inAll: 8 },
  load: { devices: 8, httpDevices: 0, ratePerS: 4000, arrayReadings: 1000, window: 4, invalidShare: 0.001, poisonShare: 0.003 },
  async run (rig) {
    await rig.startGateway()
    await rig.query(`alter table readings add constraint chaos_poison check (not vitals ? '${POISON_FIELD}')`)
    await rig.beginAccount()
    await sleep(rig.options.seconds * 1000)
    let poisoned = 0
    const countPoisoned = (part: LedgerEntries) => {
      for (const entries of part.values()) for (const entry of entries) if (entry?.kind === 'letter') poisoned++
    }
    await rig.endAccount({ measures: [{ add: countPoisoned }] })
    rig.figures['poisoned'] = poisoned
  }
}
