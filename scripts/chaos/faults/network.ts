import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import { readDescriptorLimit } from '../../harness/process-stat.ts'
import { PUBCOMP, PUBREC } from '../../harness/packet-scanner.ts'
import { type Mishap, Proxy } from '../rig/proxy.ts'
import { Span } from '../../harness/checks/span.ts'
import { startSubscribers } from '../devices/subscriber-process.ts'

const PUBLISH = 0x30
const PUBREL = 0x62

export const lostAcks: Fault = {
  name: 'lost-acks',
  summary: 'a proxy drops answers of the broker, then cuts: publishes are sent again with DUP, and stored once',
  database: 'own',
  seconds: { alone: 15, inAll: 8 },
  load: { httpDevices: 0 },
  async run (rig) {
    let isOver = false
    const toMishap = (): Mishap => {
      if (isOver) return {}
      const dropsAfterMs = rig.between(200, 2000)
      const dropsFromMs = performance.now() + dropsAfterMs
      return { dropsDown: () => performance.now() > dropsFromMs, lastsMs: dropsAfterMs + rig.between(200, 1000) }
    }
    const proxy = new Proxy(() => rig.mqttPort, toMishap)
    await rig.startGateway()
    try {
      await rig.beginAccount({ mqttPort: await proxy.listen() })
      await sleep(rig.options.seconds * 1000)
      isOver = true
      proxy.cutAll()
      await rig.endAccount()
      rig.figures['droppedBytes'] = proxy.droppedBytes
      if (proxy.droppedBytes === 0) rig.violate('expected', 'the proxy dropped nothing')
    } finally {
      proxy.close()
    }
  }
}

/** The four steps of a QoS 2 delivery: each is cut before it passes. */
const STEPS = [
  { name: 'publish', isUp: true, matches: (type: number) => (type & 0xf0) === PUBLISH },
  { name: 'pubrec', isUp: false, matches: (type: number) => type === PUBREC },
  { name: 'pubrel', isUp: true, matches: (type: number) => type === PUBREL },
  { name: 'pubcomp', isUp: false, matches: (type: number) => type === PUBCOMP }
] as const

export const qos2Cut: Fault = {
  name: 'qos2-cut',
  summary: 'QoS 2, cut before PUBLISH, PUBREC, PUBREL or PUBCOMP passes, again and again: stored once',
  database: 'own',
  seconds: { alone: 15, inAll: 8 },
  load: { httpDevices: 0, qos2Every: 1, ratePerS: 600 },
  async run (rig) {
    let isOver = false
    let connections = 0
    const toMishap = (): Mishap => {
      const step = STEPS[connections++ % STEPS.length]!
      let left = Math.floor(rig.between(1, 40))
      const cuts = (type: number) => {
        if (isOver || !step.matches(type) || --left > 0) return false
        rig.count(step.name, 1)
        return true
      }
      return step.isUp ? { cutsUp: cuts } : { cutsDown: cuts }
    }
    const proxy = new Proxy(() => rig.mqttPort, toMishap)
    await rig.startGateway()
    try {
      await rig.beginAccount({ mqttPort: await proxy.listen() })
      await sleep(rig.options.seconds * 1000)
      isOver = true
      await rig.endAccount()
      for (const { name } of STEPS) if (rig.figures[name] === undefined) rig.violate('expected', `no connection was cut before ${name}`)
    } finally {
      proxy.close()
    }
  }
}

export const frozenSubscriber: Fault = {
  name: 'frozen-subscriber',
  summary: 'SIGSTOP of one of 100 subscribers: it is dropped, ingest continues (the rates are printed, not judged)',
  database: 'own',
  seconds: { alone: 30, inAll: 20 },
  load: { ratePerS: 200 },
  async run (rig) {
    await rig.startGateway()
    const lively = await startSubscribers(rig, 99)
    const frozen = await startSubscribers(rig, 1)
    await rig.beginAccount()
    await sleep(5000)
    const fromMs = Date.now()
    frozen.freeze()
    await sleep(rig.options.seconds * 1000)
    const toMs = Date.now()
    const delivered = lively.delivered()
    if (delivered === 0) rig.violate('expected', 'the other subscribers received nothing')
    frozen.end()
    lively.end()
    const spans = [new Span(fromMs - 4000, fromMs - 1), new Span(fromMs, toMs)] as const
    await rig.endAccount({ measures: spans })
    const seconds = (toMs - fromMs) / 1000
    const [before, during] = [spans[0].figures(), spans[1].figures()]
    rig.figures['ackedPerSBefore'] = Math.round(before.acknowledged / 4)
    rig.figures['ackedPerSDuring'] = Math.round(during.acknowledged / seconds)
    rig.figures['ackP99MsBefore'] = before.p99Ms
    rig.figures['ackP99MsDuring'] = during.p99Ms
    rig.figures['delivered'] = delivered
  }
}

const STORM_CLIENTS = 5000
const STORM_TIMEOUT_MS = 90_000

export const reconnectStorm: Fault = {
  name: 'reconnect-storm',
  summary: '5,000 clients at once, each with a backlog; the gateway is killed in the middle of it, and they come again',
  database: 'own',
  load: { devices: STORM_CLIENTS, httpDevices: 0, ratePerS: 200, backlog: 10, window: 20, keepaliveS: 60 },
  obstacle () {
    const limit = Math.min(readDescriptorLimit(), readSystemLimit())
    return limit >= STORM_CLIENTS + 200
      ? null
      : `${STORM_CLIENTS + 200} open files are needed and the hard limit is ${limit}: raise it (ulimit -n 65536 as root) and run from there`
  },
  async run (rig) {
    await rig.begin()
    await rig.publisher.waitUntil(({ connected }) => connected > STORM_CLIENTS / 2, STORM_TIMEOUT_MS)
    await rig.killGateway()
    await rig.startGateway({ isCounted: true })
    const startMs = performance.now()
    const figures = await rig.publisher.waitUntil(
      ({ connected, unacknowledged }) => connected === STORM_CLIENTS && unacknowledged < STORM_CLIENTS / 10, STORM_TIMEOUT_MS)
    rig.recovered(performance.now() - startMs)
    rig.figures['connected'] = figures.connected
    if (figures.connected < STORM_CLIENTS) rig.violate('expected', `only ${figures.connected} of ${STORM_CLIENTS} clients are connected`)
    await rig.endAccount()
  }
}

function readSystemLimit (): number {
  try {
    return Number(readFileSync('/proc/sys/fs/file-max', 'utf8'))
  } catch {
    return Infinity
  }
}
