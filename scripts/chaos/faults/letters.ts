import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectAsync } from 'mqtt'
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

export const letterRefused: Fault = {
  name: 'letter-refused',
  summary: 'a trigger refuses every third dead letter: those are kept in a file, the circuit stays closed, the others go on',
  database: 'own',
  seconds: { alone: 10, inAll: 3 },
  load: { invalidShare: 0 },
  async run (rig) {
    await rig.startGateway()
    await rig.query('create function chaos_refuse() returns trigger language plpgsql as $$ begin ' +
      'if get_byte(new.payload, octet_length(new.payload) - 1) % 3 = 0 then raise exception \'not this one\'; end if; return new; end $$')
    await rig.query('create trigger chaos_refuse before insert on dead_letters for each row execute function chaos_refuse()')
    await rig.beginAccount()
    const client = await connectAsync({ port: rig.mqttPort, clientId: 'chaos-letters' })
    const untilMs = performance.now() + rig.options.seconds * 1000
    for (let n = 0; performance.now() < untilMs; n++) {
      await client.publishAsync(`vital/other-${n % 10}`, `no JSON ${n}`, { qos: 1 })
      if (!(await rig.scrape()).databaseUp) rig.violate('expected', 'a dead letter opened the circuit')
      await sleep(100)
    }
    await client.endAsync()
    rig.figures['keptInFile'] = (await readFile(join(rig.dataDir, 'refused-dead-letters.ndjson'), 'utf8')).trim().split('\n').length
    // Letters in the file count as dead-lettered and are in no table, so the metrics of this process differ from the
    // tables.
    await rig.stopGateway()
    await rig.startGateway()
    await rig.endAccount()
  }
}
