import { isDeviceId } from '../schemas/device-id.ts'

/** Topics that only the gateway may publish on. Exactly this: Paho's suite publishes on `$TopicA`. */
export const RESERVED_PREFIX = '$SYS/'

const BRIDGE_PREFIX = '$SYS/broker/connection/'
const BRIDGE_SUFFIX = '/state'

/** Whether a Mosquitto bridge tells there that it is up or, with its will, down (`notifications`, on by default). */
export function isBridgeState (topic: string): boolean {
  return topic.startsWith(BRIDGE_PREFIX) && topic.endsWith(BRIDGE_SUFFIX) && topic.length > BRIDGE_PREFIX.length + BRIDGE_SUFFIX.length
}

/** Where the broker's statistics lie; nothing else below {@link RESERVED_PREFIX} ever reaches a subscriber. */
export const STATISTICS_PREFIX = '$SYS/broker/'

/**
 * Where a publish goes that must be acknowledged and seen by nobody. Aedes acknowledges and fans out in one step,
 * so the topic is exchanged in between; {@link isFannedOut} is false for it.
 */
export const DISCARDED_TOPIC = '$SYS/discarded'

const VITAL_PREFIX = 'vital/'

/**
 * `vital/` and its near misses: a slash before it, another case, a space, a plural. What is published there is meant for us, and would be
 * acknowledged and lost if it were relayed. First the level behind it, then the rest.
 */
const MEANT_FOR_US = /^[\s/]*vitals?\s*\/([^/]*)(.*)$/is

/** Whether `topic` is ingested: everything below `vital/`, valid or not, and its near misses. The bare topic `vital` is not. */
export function isIngested (topic: string): boolean {
  return topic.startsWith(VITAL_PREFIX) || MEANT_FOR_US.test(topic)
}

/** The device of `vital/{valid id}`; `null` for any other topic. */
export function deviceOf (topic: string): string | null {
  if (!topic.startsWith(VITAL_PREFIX)) return null
  const id = topic.slice(VITAL_PREFIX.length)
  return isDeviceId(id) ? id : null
}

/** The device that an ingested topic names, valid or not: of `vital/ward-3/hr` and `/vital/ward-3` it is `ward-3`. `null`: no valid id stands there. */
export function namedDeviceOf (topic: string): string | null {
  const id = MEANT_FOR_US.exec(topic)?.[1]
  return id !== undefined && isDeviceId(id) ? id : null
}

/**
 * Where it is announced that something of an ingested topic was refused; `null`: nowhere. A bridge that publishes what it reads would be answered
 * for ever, so nothing is announced for what comes on such a topic itself.
 */
export function rejectionTopicOf (topic: string): string | null {
  const device = namedDeviceOf(topic)
  const rest = MEANT_FOR_US.exec(topic)?.[2] ?? ''
  return device === null || rest.startsWith('/rejected') ? null : rejectedTopic(device)
}

/** Where a device publishes. */
export function vitalTopic (device: string): string {
  return VITAL_PREFIX + device
}

/** Where refusals of a device are announced. */
export function rejectedTopic (device: string): string {
  return `${VITAL_PREFIX}${device}/rejected`
}

/**
 * Whether subscribers may see `topic`. Aedes tells other brokers of a cluster about clients and subscriptions below
 * `$SYS/{broker id}/`; there is no cluster, and `$SYS/#` is not for reading other clients' ids.
 */
export function isFannedOut (topic: string): boolean {
  return !topic.startsWith(RESERVED_PREFIX) || topic.startsWith(STATISTICS_PREFIX)
}

/** Levels of a topic or filter; `a/b` has two. */
export function levelsOf (topic: string): number {
  let levels = 1
  for (let at = topic.indexOf('/'); at !== -1; at = topic.indexOf('/', at + 1)) levels++
  return levels
}

/** Filters of shared subscriptions, which MQTT 3.1.1 does not have: subscribers would be granted what never comes. */
export function isShared (filter: string): boolean {
  return filter.startsWith('$share/') || filter.startsWith('$queue/')
}
