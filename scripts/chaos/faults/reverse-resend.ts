import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'

const READINGS = 1000

/** The same readings in two requests at once, one reversed: without an order of keys each would wait for the other. */
export const reverseResend: Fault = {
  name: 'reverse-resend',
  summary: 'the same 1,000 readings in two requests at once, one reversed: no deadlock, and each is stored once',
  database: 'own',
  cycles: { alone: 20, inAll: 5 },
  async run (rig) {
    await rig.startGateway()
    const deadlocks = async () => {
      const [row] = await rig.query<{ deadlocks: string }>('select deadlocks from pg_stat_database where datname = current_database()')
      return Number(row?.deadlocks)
    }
    const post = async (readings: readonly unknown[]) => {
      const response = await fetch(`http://127.0.0.1:${rig.httpPort}/vital-data`, {
        method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(readings)
      })
      await response.text()
      if (response.status !== 202) rig.violate('expected', `POST was answered ${response.status}`)
    }
    const before = await deadlocks()
    let slowestMs = 0
    await rig.repeat(async (cycle) => {
      const readings = Array.from({ length: READINGS }, (_, n) => ({
        device: `reverse-${n % 100}`, timestamp: 1_735_689_600 + cycle * READINGS + n, n
      }))
      const startMs = performance.now()
      // Some milliseconds apart: otherwise both share a batch, which stores each once.
      await Promise.all([post(readings), sleep(rig.between(1, 12)).then(() => post(readings.toReversed()))])
      slowestMs = Math.max(slowestMs, Math.round(performance.now() - startMs))
    })
    rig.figures['slowestPairMs'] = slowestMs
    const [row] = await rig.query<{ count: string }>('select count(*) from readings where device like \'reverse-%\'')
    if (Number(row?.count) !== READINGS * rig.options.cycles) {
      rig.violate('C2',
      `${row?.count} readings are stored, not ${READINGS * rig.options.cycles}`)
    }
    await rig.stopGateway()
    // A session reports what it counted when it ends.
    const found = await deadlocks() - before
    rig.verdict('deadlocks', found, 0, '')
    await rig.startGateway()
  }
}
