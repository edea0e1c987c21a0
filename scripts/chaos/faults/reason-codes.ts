import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { LedgerEntries, Measure } from '../../harness/checks/ledger-file.ts'
import { HELD_MS, holdSpool, holdSpoolObstacle, untilReadiness } from './spool-disk.ts'

const SERVER_BUSY = 0x89
const SERVER_SHUTTING_DOWN = 0x8b
const PAYLOAD_FORMAT_INVALID = 0x99

/** Counts invalid readings that were refused with another code than 0x99. */
class Refusals implements Measure {
  wrong = 0

  add (part: LedgerEntries): void {
    for (const entries of part.values()) {
      for (const entry of entries) {
        if (entry?.kind === 'letter' && entry.acknowledgedAtMs !== null && entry.refusedWith !== PAYLOAD_FORMAT_INVALID) this.wrong++
      }
    }
  }
}

export const reasonCodes: Fault = {
  name: 'reason-codes',
  summary: 'MQTT 5: nothing can be made durable for 7 s, then SIGTERM. Devices drop what an acknowledgement of 0x80 or more refuses, ' +
    'and keep what a DISCONNECT (0x89, 0x8B) interrupts: no reading that could be stored is dropped',
  database: 'own',
  cycles: { alone: 5, inAll: 2 },
  // One reading a publish, so that the code of each is known.
  load: { protocolVersion: 5, arrayReadings: 1, invalidShare: 0.05 },
  obstacle: holdSpoolObstacle,
  async run (rig) {
    const { setWritable, leave } = await holdSpool(rig)
    try {
      await rig.startGateway()
      await rig.beginAccount()
      await rig.repeat(async () => {
        await sleep(rig.between(200, 1500))
        await setWritable(false)
        await rig.ownPostgres.stop('SIGQUIT')
        await untilReadiness(rig, 503, 'when neither PostgreSQL nor the spool could be written')
        await sleep(HELD_MS)
        await setWritable(true)
        await rig.ownPostgres.start()
        await untilReadiness(rig, 200, 'when both were back')
        await sleep(rig.between(200, 1500))
        await rig.stopGateway()
        await rig.startGateway({ isCounted: true })
      })
      const { disconnectCodes, refused } = await rig.publisher.figures()
      const told = Object.keys(disconnectCodes).map(Number)
      for (const code of [SERVER_BUSY, SERVER_SHUTTING_DOWN]) {
        if (!told.includes(code)) rig.violate('expected', `no device was told 0x${code.toString(16)}`)
      }
      for (const code of told.filter((code) => code !== SERVER_BUSY && code !== SERVER_SHUTTING_DOWN)) {
        rig.violate('expected', `devices were told 0x${code.toString(16)}`)
      }
      if (refused === 0) rig.violate('expected', 'nothing was refused')
      const refusals = new Refusals()
      await rig.endAccount({ measures: [refusals] })
      if (refusals.wrong > 0) rig.violate('expected', `${refusals.wrong} invalid readings were not answered 0x99`)
    } finally {
      await leave()
    }
    await rig.startGateway()
  }
}
