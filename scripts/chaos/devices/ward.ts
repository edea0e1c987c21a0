/** Subscribers with persistent sessions, and the publishers of the messages and the clients whose wills they must get. */
import { SessionSubscriber } from './session-subscriber.ts'
import { type Sent, WardPublisher } from './ward-publisher.ts'
import { WillClient } from './will-client.ts'

const VIOLATIONS_TOLD = 20

/** Overlapping, of mixed QoS; each subscriber takes one set. */
const FILTER_SETS = [
  { 'ward/#': 1, 'ward/0/+': 2, 'ward/+/bed-1': 0 },
  { 'ward/+/+': 2, 'ward/#': 0 },
  { 'ward/0/#': 1, 'ward/1/#': 2, 'ward/0/bed-0': 0, '#': 0 },
  { 'ward/0/bed-0': 2, 'ward/#': 1, 'ward/+/bed-3': 1, 'other/#': 2 }
] as const
/** Each gets every will. */
const WILL_SUBSCRIBERS = 2

/** Whose messages subscribers are owed. */
interface Source {
  /** `{topic} {QoS}` → number of the last message. */
  readonly counts: ReadonlyMap<string, number>
  readonly times: ReadonlyMap<string, readonly Sent[]>
}

export interface WardOptions {
  readonly port: () => number
  readonly subscribers: number
  /** Topics of each publisher. */
  readonly topics: ReadonlyArray<readonly string[]>
  /** Clients that are cut off like subscribers, and owe a will each time. */
  readonly willClients: number
  /** Between two messages on each topic: a session that is away for long must not reach its bounds. */
  readonly publishIntervalMs: number
  /** A gateway that takes a session over may repeat at QoS 1 without the DUP flag. */
  readonly isClustered: boolean
  /** Whether a session may be lost, now: a client of a cluster that connects while Redis is away. */
  readonly mayLoseSessions?: () => boolean
  /** Whether a gateway is stopping, now. */
  readonly mayDropWills?: () => boolean
  readonly random: (min: number, max: number) => number
  readonly onViolation: (message: string) => void
  readonly onPublisherClose?: () => void
}

export type Ward = ReturnType<typeof createWard>

export function createWard (options: WardOptions) {
  const { port, subscribers: count, topics, publishIntervalMs, isClustered, random, onViolation, onPublisherClose } = options
  const mayLoseSession = options.mayLoseSessions ?? (() => false)
  const mayDropWill = options.mayDropWills ?? (() => false)
  let violations = 0
  const violate = (message: string) => { if (violations++ < VIOLATIONS_TOLD) onViolation(message) }
  const createSubscriber = (clientId: string, index: number, filters: Readonly<Record<string, 0 | 1 | 2>>) => {
    const subscriber: SessionSubscriber = new SessionSubscriber({
      clientId,
      port,
      protocolVersion: index % 8 < 4 ? 4 : 5,
      filters,
      ackDelayMsMax: index % 3 === 0 ? 300 : 0,
      isClustered,
      mayLoseSession,
      mayRepeat: (what) => publishers.some(({ repeatable }) => repeatable.has(what)),
      onLost: () => { for (const { counts } of sources) for (const [name, sent] of counts) subscriber.forgive(name, sent) },
      random,
      onViolation: violate
    })
    return subscriber
  }
  const publishers = topics.map((own, index) => new WardPublisher({
    clientId: `ward-${index}`,
    port,
    topics: own,
    mayLoseSession,
    random,
    ...(onPublisherClose !== undefined && { onClose: onPublisherClose })
  }))
  const willClients = Array.from({ length: options.willClients }, (_, index) =>
    new WillClient({ clientId: `monitor-${index}`, port, protocolVersion: index % 2 === 0 ? 4 : 5, mayDropWill, random }))
  const sources: readonly Source[] = [...publishers, ...willClients]
  const subscribers = [
    ...Array.from({ length: count }, (_, index) => createSubscriber(`nurse-${index}`, index, FILTER_SETS[index % FILTER_SETS.length]!)),
    ...Array.from({ length: willClients.length === 0 ? 0 : WILL_SUBSCRIBERS }, (_, index) =>
      // One of each version of MQTT.
      createSubscriber(`heir-${index}`, 4 * index, { 'will/#': 1 }))
  ]
  const cuttable = [...subscribers, ...willClients]
  let timer: NodeJS.Timeout | undefined

  const told = new Set<string>()

  /** Deliveries of QoS 1 and 2 that have not come, of all subscribers. */
  function missing (): number {
    let sum = 0
    for (const subscriber of subscribers) for (const { counts } of sources) sum += missingOf(subscriber, counts)
    return sum
  }

  return {
    get violations () { return violations },
    get isSubscribed () { return subscribers.every(({ isSubscribed }) => isSubscribed) },
    get published () { return publishers.reduce((sum, { counts }) => sum + [...counts.values()].reduce((all, one) => all + one, 0), 0) },
    /** Wills that are owed. */
    get wills () { return willClients.reduce((sum, { counts, topic }) => sum + (counts.get(`${topic} 1`) ?? 0), 0) },
    get lost () { return subscribers.reduce((sum, { lost }) => sum + lost, 0) },
    get repeated () { return subscribers.reduce((sum, { repeated }) => sum + repeated, 0) },
    get unacknowledged () { return publishers.reduce((sum, { unacknowledged }) => sum + unacknowledged, 0) },
    missing,
    /** @returns a line for each message that is missing and was not told before, at most `max` of a subscriber */
    tellMissing: (max: number) => tellMissing(subscribers, sources, max, told),
    connect (): void { for (const one of cuttable) one.connect() },
    startPublishing (): void {
      for (const publisher of publishers) if (!publisher.isConnected) publisher.connect()
      timer = setInterval(() => { for (const publisher of publishers) publisher.publish() }, publishIntervalMs)
    },
    /** Unacknowledged messages are still sent again. */
    stopPublishing (): void { clearInterval(timer) },
    /** Cuts off one subscriber, or a client with a will; it connects again. */
    cut (): void { cuttable[Math.floor(random(0, cuttable.length))]?.cut() },
    end (): void {
      clearInterval(timer)
      for (const one of [...cuttable, ...publishers]) one.end()
    }
  }
}

const toTime = (ms: number | null) => ms === null ? 'never' : new Date(ms).toISOString().slice(11, 23)

function tellMissing (
  subscribers: readonly SessionSubscriber[], sources: readonly Source[], max: number, told: Set<string>
): string[] {
  const lines: string[] = []
  for (const subscriber of subscribers) {
    let left = max
    for (const { times } of sources) {
      for (const [name, messages] of times) {
        const [topic, qos] = name.split(' ') as [string, string]
        if (subscriber.grantedFor(topic, Number(qos) as 1 | 2) === 0) continue
        for (const [index, { sentAtMs, acknowledgedAtMs }] of messages.entries()) {
          if (subscriber.has(topic, Number(qos) as 1 | 2, index + 1)) continue
          const key = `${subscriber.clientId} ${name} ${index + 1}`
          if (told.has(key)) continue
          told.add(key)
          if (left-- <= 0) continue
          const connected = subscriber.connectedAtMs.findLast((ms) => ms < sentAtMs) ?? null
          const next = subscriber.connectedAtMs.find((ms) => ms >= sentAtMs) ?? null
          lines.push(`${key.replace(' ', ' misses ')}, sent ${toTime(sentAtMs)}, acknowledged ${
            toTime(acknowledgedAtMs)}; connected ${toTime(connected)}, then ${toTime(next)}`)
        }
      }
    }
  }
  return lines
}

function missingOf (subscriber: SessionSubscriber, counts: ReadonlyMap<string, number>): number {
  let missing = 0
  for (const [name, count] of counts) {
    const [topic, qos] = name.split(' ') as [string, string]
    const publishedQoS = Number(qos) as 1 | 2
    const isOwed = subscriber.grantedFor(topic, publishedQoS) > 0
    if (isOwed) missing += Math.max(0, subscriber.missing(topic, publishedQoS, count))
  }
  return missing
}
