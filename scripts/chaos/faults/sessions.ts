import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket, { type Packet } from 'mqtt-packet'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig/rig.ts'
import { SessionSubscriber } from '../devices/session-subscriber.ts'

const SUBSCRIBERS = 20
const TOPICS = Array.from({ length: 6 }, (_, index) => `ward/${index % 2}/bed-${index}`)
const ARRIVE_TIMEOUT_MS = 20_000
const VIOLATIONS_TOLD = 20

/** Overlapping, of mixed QoS; each subscriber takes one set. */
const FILTER_SETS = [
  { 'ward/#': 1, 'ward/0/+': 2, 'ward/+/bed-1': 0 },
  { 'ward/+/+': 2, 'ward/#': 0 },
  { 'ward/0/#': 1, 'ward/1/#': 2, 'ward/0/bed-0': 0, '#': 0 },
  { 'ward/0/bed-0': 2, 'ward/#': 1, 'ward/+/bed-3': 1, 'other/#': 2 }
] as const

/** A publisher whose connection is never cut: each of its messages is due to the subscribers. */
async function startPublisher (rig: Rig) {
  const socket = connect({ host: '127.0.0.1', port: rig.mqttPort, noDelay: true })
  const send = (packet: Packet) => { socket.write(mqttPacket.generate(packet)) }
  const parser = mqttPacket.parser()
  const counts = new Map<string, number>()
  let unacknowledged = 0
  let isConnected = false
  let lastId = 0
  socket.on('error', () => { rig.violate('expected', 'the publisher of the sessions was cut off') })
  socket.on('data', (chunk) => { parser.parse(chunk) })
  parser.on('packet', ({ cmd, messageId = 0 }) => {
    if (cmd === 'connack') isConnected = true
    else if (cmd === 'pubrec') send({ cmd: 'pubrel', messageId })
    else if (cmd === 'puback' || cmd === 'pubcomp') unacknowledged--
  })
  send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId: 'ward', keepalive: 0 })
  await rig.until(() => isConnected, ARRIVE_TIMEOUT_MS)
  const publish = () => {
    for (const topic of TOPICS) {
      const qos = rig.between(0, 1) < 0.5 ? 1 : 2
      const name = `${topic} ${qos}`
      const number = (counts.get(name) ?? 0) + 1
      counts.set(name, number)
      unacknowledged++
      lastId = lastId % 65_535 + 1
      send({ cmd: 'publish', topic, payload: `${qos}:${number}`, qos, messageId: lastId, retain: false, dup: false })
    }
  }
  const timer = setInterval(publish, 20)
  return {
    counts,
    async stop (): Promise<void> {
      clearInterval(timer)
      await rig.until(() => unacknowledged === 0, ARRIVE_TIMEOUT_MS)
      socket.end()
    }
  }
}

function startSubscribers (rig: Rig): SessionSubscriber[] {
  let told = 0
  const onViolation = (message: string) => {
    rig.count('sessionViolations', 1)
    if (told++ < VIOLATIONS_TOLD) rig.violate('expected', message)
  }
  return Array.from({ length: SUBSCRIBERS }, (_, index) => new SessionSubscriber({
    clientId: `nurse-${index}`,
    port: () => rig.mqttPort,
    filters: FILTER_SETS[index % FILTER_SETS.length]!,
    ackDelayMsMax: index % 3 === 0 ? 300 : 0,
    random: (min, max) => rig.between(min, max),
    onViolation
  }))
}

/** What has not come, of all that each subscriber is owed at QoS 1 or 2. */
function countMissing (subscribers: readonly SessionSubscriber[], counts: ReadonlyMap<string, number>): number {
  let missing = 0
  for (const subscriber of subscribers) {
    for (const [name, count] of counts) {
      const [topic, qos] = name.split(' ') as [string, string]
      const publishedQoS = Number(qos) as 1 | 2
      const isOwed = subscriber.grantedFor(topic, publishedQoS) > 0
      if (isOwed) missing += Math.max(0, subscriber.missing(topic, publishedQoS, count))
    }
  }
  return missing
}

export const sessions: Fault = {
  name: 'sessions',
  summary: '20 persistent subscribers, overlapping filters of mixed QoS, cut at random: each gets what it is owed, in order',
  database: 'own',
  cycles: { alone: 500, inAll: 60 },
  load: { devices: 10, httpDevices: 1, ratePerS: 100 },
  async run (rig) {
    await rig.startGateway()
    rig.watch.otherConnections += SUBSCRIBERS + 1
    const subscribers = startSubscribers(rig)
    for (const subscriber of subscribers) subscriber.connect()
    if (await rig.until(() => subscribers.every(({ isSubscribed }) => isSubscribed), ARRIVE_TIMEOUT_MS) === null) {
      throw new Error('not all subscribers were accepted')
    }
    await rig.beginAccount()
    const publisher = await startPublisher(rig)
    await rig.repeat(async () => {
      await sleep(rig.between(5, 60))
      subscribers[Math.floor(rig.between(0, SUBSCRIBERS))]?.cut()
    })
    await publisher.stop()
    await rig.until(() => countMissing(subscribers, publisher.counts) === 0, ARRIVE_TIMEOUT_MS)
    const missing = countMissing(subscribers, publisher.counts)
    if (missing > 0) rig.violate('expected', `${missing} deliveries of QoS 1 or 2 never came`)
    rig.figures['published'] = [...publisher.counts.values()].reduce((sum, count) => sum + count, 0)
    rig.figures['repeatedAtQoS1'] = subscribers.reduce((sum, { repeated }) => sum + repeated, 0)
    for (const subscriber of subscribers) subscriber.end()
    await rig.endAccount()
  }
}
