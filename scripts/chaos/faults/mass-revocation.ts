/** A hospital's worth of principals is added, and later revoked, in one transaction each, beside the traffic of others. */
import { setTimeout as sleep } from 'node:timers/promises'
import { startAnother } from '../rig/another.ts'
import { EFFECTIVE_WITHIN_MS, revokeBystanders } from '../devices/bystanders.ts'
import type { Fault } from '../fault.ts'
import { addIdentities } from '../../harness/devices/identities.ts'
import type { Rig } from '../rig/rig.ts'
import { Span } from '../../harness/checks/span.ts'

const PRINCIPALS = 70_000
/** Principals that are connected, on each of the two gateways. */
const CONNECTED = 50
/** Longer than some seconds of looking back, because stamps are set when a statement begins, long before its COMMIT. */
const TRANSACTION_MS = 17_000
/** Over the p99 of the same cycle before: a busy machine alone may have 200 ms. */
const ACK_P99_MORE_MS_MAX = 250
const CALM_MS = 5000

/** The first credential closes an open gateway and all its connections, which is not what this fault measures. */
async function closeGateway (rig: Rig): Promise<void> {
  await addIdentities(rig.databaseUrl, 'admin', ['first'])
  const isClosed = async () => /^vital_anonymous_allowed 0$/m.test(await (await fetch(`http://127.0.0.1:${rig.adminPort}/metrics`)).text())
  if (await rig.until(isClosed, EFFECTIVE_WITHIN_MS) === null) rig.violate('expected', 'the gateway is open though there are credentials')
}

export const massRevocation: Fault = {
  name: 'mass-revocation',
  summary: `${PRINCIPALS.toLocaleString('en')} principals added, then revoked in one transaction of ${TRANSACTION_MS / 1000} s, some ` +
    `connected to each of two gateways: effective ${EFFECTIVE_WITHIN_MS / 1000} s after COMMIT, others undisturbed`,
  database: 'own',
  cycles: { alone: 2, inAll: 1 },
  load: { isIdentified: true, ratePerS: 400 },
  async run (rig) {
    await rig.startGateway()
    await closeGateway(rig)
    const second = await startAnother(rig)
    rig.watch.otherConnections = CONNECTED
    const ports = [rig.mqttPort, second.mqttPort]
    const slowest = { admission: 0, revocation: 0, lost: 0, late: 0 }
    const p99s: Array<{ readonly before: number, readonly during: number }> = []
    await rig.repeat(async (cycle) => {
      await rig.beginAccount({ numbering: { first: 0, step: 2 } })
      await second.beginAccount()
      await sleep(CALM_MS)
      const fromMs = Date.now()
      const before = new Span(fromMs - CALM_MS / 2, fromMs)
      const { admittedMs, closedMs, late } = await revokeBystanders({
        databaseUrl: rig.databaseUrl,
        ports,
        prefix: `${rig.prefix}-${cycle}`,
        count: PRINCIPALS,
        connected: CONNECTED * ports.length,
        transactionMs: TRANSACTION_MS
      })
      const span = new Span(fromMs, Date.now())
      const figures = await Promise.all([rig.publisher.figures(), second.publisher.figures()])
      slowest.admission = Math.max(slowest.admission, admittedMs)
      slowest.revocation = Math.max(slowest.revocation, closedMs ?? Infinity)
      slowest.late += late
      slowest.lost += figures.reduce((sum, { disconnects }) => sum + disconnects, 0)
      await rig.endAccount({ also: second, measures: [before, span] })
      p99s.push({ before: before.figures().p99Ms, during: span.figures().p99Ms })
    })
    rig.figures['ackP99MsBefore'] = p99s.map(({ before }) => before).join(', ')
    rig.figures['ackP99Ms'] = p99s.map(({ during }) => during).join(', ')
    rig.count('revoked', PRINCIPALS * rig.options.cycles)
    rig.verdict('added principals are let in on both gateways', slowest.admission, EFFECTIVE_WITHIN_MS, 'ms')
    rig.verdict('connections of revoked principals are closed on both gateways, after COMMIT', slowest.revocation, EFFECTIVE_WITHIN_MS,
      'ms')
    rig.verdict('revoked principals let in later', slowest.late, 0, 'logins')
    rig.verdict('p99 of acknowledgements of others, more than before', Math.max(...p99s.map(({ before, during }) => during - before)),
      ACK_P99_MORE_MS_MAX, 'ms')
    rig.verdict('connections of others lost', slowest.lost, 0, 'connections')
    await second.stop()
  }
}
