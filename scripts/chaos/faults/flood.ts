import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import { startIntruders } from '../devices/intruders.ts'
import type { Rig } from '../rig/rig.ts'
import { Span } from '../../harness/checks/span.ts'

const INTRUDERS = 500
/** From accept to a whole CONNECT the gateway waits 10 s; the rest is for a busy machine. */
const CLOSED_WITHIN_MS = 15_000
const ACK_SLOWEST_MS_MAX = 2000

/** Lets intruders connect for `ms`, then waits until the gateway has closed the last of them. */
export async function flood (rig: Rig, ms: number): Promise<void> {
  rig.watch.otherConnections = Math.max(rig.watch.otherConnections, 2 * INTRUDERS)
  const intruders = startIntruders({ port: () => rig.mqttPort, count: INTRUDERS, random: rig.options.random })
  try {
    await sleep(ms)
    intruders.stop()
    if (await rig.until(() => intruders.open() === 0, CLOSED_WITHIN_MS) === null) {
      rig.violate('expected', `${intruders.open()} connections that never were clients are still open after ${CLOSED_WITHIN_MS} ms`)
    }
  } finally {
    intruders.end()
  }
  for (const [kind, { opened, slowestCloseMs }] of Object.entries(intruders.figures)) {
    rig.count(`${kind}Opened`, opened)
    rig.figures[`${kind}SlowestCloseMs`] = Math.max(slowestCloseMs, Number(rig.figures[`${kind}SlowestCloseMs`] ?? 0))
    if (opened === 0) rig.violate('expected', `no ${kind} connection was accepted`)
  }
}

export const connectionFlood: Fault = {
  name: 'connection-flood',
  summary: `${INTRUDERS} connections at a time that say nothing, say it slowly, announce 256 MiB or send noise: closed; good clients ` +
    'notice nothing',
  database: 'own',
  seconds: { alone: 30, inAll: 15 },
  async run (rig) {
    await rig.begin()
    await sleep(5000)
    const fromMs = Date.now()
    await flood(rig, rig.options.seconds * 1000)
    const toMs = Date.now()
    const { disconnects } = await rig.publisher.figures()
    const before = new Span(fromMs - 4000, fromMs - 1)
    const during = new Span(fromMs, toMs)
    await rig.endAccount({ measures: [before, during] })
    const { p99Ms, slowestMs } = during.figures()
    rig.figures['ackP99MsBefore'] = before.figures().p99Ms
    rig.figures['ackP99MsDuring'] = p99Ms
    rig.verdict('connections of good clients lost', disconnects, 0, 'connections')
    rig.verdict('slowest acknowledgement of good clients', slowestMs, ACK_SLOWEST_MS_MAX, 'ms')
  }
}
