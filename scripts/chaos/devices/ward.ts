/** Subscribers with persistent sessions, and the publishers of the messages that they must get. */
import { SessionSubscriber } from './session-subscriber.ts'
import { WardPublisher } from './ward-publisher.ts'

const VIOLATIONS_TOLD = 20

/** Overlapping, of mixed QoS; each subscriber takes one set. */
const FILTER_SETS = [
  { 'ward/#': 1, 'ward/0/+': 2, 'ward/+/bed-1': 0 },
  { 'ward/+/+': 2, 'ward/#': 0 },
  { 'ward/0/#': 1, 'ward/1/#': 2, 'ward/0/bed-0': 0, '#': 0 },
  { 'ward/0/bed-0': 2, 'ward/#': 1, 'ward/+/bed-3': 1, 'other/#': 2 }
] as const

export interface WardOptions {
  readonly port: () => number
  readonly subscribers: number
  /** Topics of each publisher. */
  readonly topics: ReadonlyArray<readonly string[]>
  /** Between two messages on each topic: a session that is away for long must not reach its bounds. */
  readonly publishIntervalMs: number
  /** A gateway that takes a session over may repeat at QoS 1 without the DUP flag. */
  readonly isClustered: boolean
  /** Whether a session may be lost, now: a client of a cluster that connects while Redis is away. */
  readonly mayLoseSessions?: () => boolean
  readonly random: (min: number, max: number) => number
  readonly onViolation: (message: string) => void
  readonly onPublisherClose?: () => void
}

export type Ward = ReturnType<typeof createWard>

export function createWard (options: WardOptions) {
  const { port, subscribers: count, topics, publishIntervalMs, isClustered, random, onViolation, onPublisherClose } = options
  const mayLoseSession = options.mayLoseSessions ?? (() => false)
  let violations = 0
  const violate = (message: string) => { if (violations++ < VIOLATIONS_TOLD) onViolation(message) }
  const subscribers: SessionSubscriber[] = Array.from({ length: count }, (_, index) => new SessionSubscriber({
    clientId: `nurse-${index}`,
    port,
    protocolVersion: index % 8 < 4 ? 4 : 5,
    filters: FILTER_SETS[index % FILTER_SETS.length]!,
    ackDelayMsMax: index % 3 === 0 ? 300 : 0,
    isClustered,
    mayLoseSession,
    mayRepeat: (what) => publishers.some(({ repeatable }) => repeatable.has(what)),
    onLost: () => { for (const { counts } of publishers) for (const [name, sent] of counts) subscribers[index]!.forgive(name, sent) },
    random,
    onViolation: violate
  }))
  const publishers = topics.map((own, index) => new WardPublisher({
    clientId: `ward-${index}`,
    port,
    topics: own,
    mayLoseSession,
    random,
    ...(onPublisherClose !== undefined && { onClose: onPublisherClose })
  }))
  let timer: NodeJS.Timeout | undefined

  const told = new Set<string>()

  /** Deliveries of QoS 1 and 2 that have not come, of all subscribers. */
  function missing (): number {
    let sum = 0
    for (const subscriber of subscribers) for (const { counts } of publishers) sum += missingOf(subscriber, counts)
    return sum
  }

  return {
    get violations () { return violations },
    get isSubscribed () { return subscribers.every(({ isSubscribed }) => isSubscribed) },
    get published () { return publishers.reduce((sum, { counts }) => sum + [...counts.values()].reduce((all, one) => all + one, 0), 0) },
    get lost () { return subscribers.reduce((sum, { lost }) => sum + lost, 0) },
    get repeated () { return subscribers.reduce((sum, { repeated }) => sum + repeated, 0) },
    get unacknowledged () { return publishers.reduce((sum, { unacknowledged }) => sum + unacknowledged, 0) },
    missing,
    /** @returns a line for each message that is missing and was not told before, at most `max` of a subscriber */
    tellMissing: (max: number) => tellMissing(subscribers, publishers, max, told),
    connect (): void { for (const subscriber of subscribers) subscriber.connect() },
    startPublishing (): void {
      for (const publisher of publishers) if (!publisher.isConnected) publisher.connect()
      timer = setInterval(() => { for (const publisher of publishers) publisher.publish() }, publishIntervalMs)
    },
    /** Unacknowledged messages are still sent again. */
    stopPublishing (): void { clearInterval(timer) },
    /** Cuts one subscriber off; it connects again. */
    cut (): void { subscribers[Math.floor(random(0, subscribers.length))]?.cut() },
    end (): void {
      clearInterval(timer)
      for (const one of [...subscribers, ...publishers]) one.end()
    }
  }
}

const toTime = (ms: number | null) => ms === null ? 'never' : new Date(ms).toISOString().slice(11, 23)

function tellMissing (
  subscribers: readonly SessionSubscriber[], publishers: readonly WardPublisher[], max: number, told: Set<string>
): string[] {
  const lines: string[] = []
  for (const subscriber of subscribers) {
    let left = max
    for (const { times } of publishers) {
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
