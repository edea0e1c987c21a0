import { isDeviceId } from '../schemas/device-id.ts'

/** Topics that only the gateway may publish on. Exactly this: Paho's suite publishes on `$TopicA`. */
export const RESERVED_PREFIX = '$SYS/'

const BRIDGE_PREFIX = '$SYS/broker/connection/'
const BRIDGE_SUFFIX = '/state'

/**
 * Whether `topic` is one on which a Mosquitto bridge announces that it is up or, by its will, down (`notifications`,
 * on by default).
 */
export function isBridgeState (topic: string): boolean {
  return topic.startsWith(BRIDGE_PREFIX) && topic.endsWith(BRIDGE_SUFFIX) &&
    topic.length > BRIDGE_PREFIX.length + BRIDGE_SUFFIX.length
}

/** Topics of the broker's statistics; no other message below {@link RESERVED_PREFIX} reaches a subscriber. */
export const STATISTICS_PREFIX = '$SYS/broker/'

/**
 * The topic of a publish that must be acknowledged and reach no subscriber. Aedes acknowledges and fans out in one
 * step, so the topic is replaced before; {@link isFannedOut} is false for it.
 */
export const DISCARDED_TOPIC = '$SYS/discarded'

const VITAL_PREFIX = 'vital/'

/**
 * `vital/` and its near misses: a slash before it, another case, a space, a plural. A reading that is published there
 * would be acknowledged and lost if it were relayed. Groups: the level behind it, and the rest.
 */
const VITAL_OR_NEAR_MISS = /^[\s/]*vitals?\s*\/([^/]*)(.*)$/is

/**
 * Whether `topic` is ingested: everything below `vital/`, valid or not, and its near misses. The bare topic `vital` is
 * not.
 */
export function isIngested (topic: string): boolean {
  return topic.startsWith(VITAL_PREFIX) || VITAL_OR_NEAR_MISS.test(topic)
}

/** The device of `vital/{valid id}`; `null` for any other topic. */
export function deviceOf (topic: string): string | null {
  if (!topic.startsWith(VITAL_PREFIX)) return null
  const id = topic.slice(VITAL_PREFIX.length)
  return isDeviceId(id) ? id : null
}

/**
 * The device that an ingested topic names: of `vital/ward-3/hr` and `/vital/ward-3` it is `ward-3`. `null` without a
 * valid id.
 */
export function namedDeviceOf (topic: string): string | null {
  const id = VITAL_OR_NEAR_MISS.exec(topic)?.[1]
  return id !== undefined && isDeviceId(id) ? id : null
}

/**
 * The device under which the refusal of a payload is announced; `null`: it is not announced. Nothing is announced for
 * a publish on a topic of announcements itself: a bridge that publishes what it reads would be answered for ever.
 */
export function rejectedDeviceOf (topic: string): string | null {
  const rest = VITAL_OR_NEAR_MISS.exec(topic)?.[2] ?? ''
  return rest.startsWith('/rejected') ? null : namedDeviceOf(topic)
}

/** The topic that a device publishes on. */
export function vitalTopic (device: string): string {
  return VITAL_PREFIX + device
}

/** Whether a topic is that of a device, or below it. */
export function isOfDevice (topic: string, device: string): boolean {
  const own = vitalTopic(device)
  return topic === own || topic.startsWith(`${own}/`)
}

/** Where refusals of a device are announced. */
export function rejectedTopic (device: string): string {
  return `${VITAL_PREFIX}${device}/rejected`
}

/**
 * Whether subscribers may see `topic`. Aedes publishes clients and subscriptions below `$SYS/{broker id}/` for a
 * cluster of Aedes, which is not used here. A subscriber of `$SYS/#` must not see other clients' ids.
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

/** @returns share name and topic filter of a shared subscription (MQTT 5 §4.8.2); `null` for any other filter */
export function toShare (filter: string): { readonly name: string, readonly filter: string } | null {
  if (!filter.startsWith(SHARE_PREFIX)) return null
  const nameEnd = filter.indexOf('/', SHARE_PREFIX.length)
  return { name: filter.slice(SHARE_PREFIX.length, nameEnd), filter: filter.slice(nameEnd + 1) }
}

/** The inverse of {@link toShare}. */
export function toSharedFilter ({ name, filter }: { readonly name: string, readonly filter: string }): string {
  return `${SHARE_PREFIX}${name}/${filter}`
}

const SHARE_PREFIX = '$share/'

/** Whether it begins as shared subscriptions of some other brokers do. No message ever matches it. */
export const isQueue = (filter: string): boolean => filter.startsWith('$queue/')

/**
 * Whether it is the filter of a shared subscription, which MQTT 3.1.1 does not have: no message would ever match it.
 */
export function isShared (filter: string): boolean {
  return filter.startsWith(SHARE_PREFIX) || isQueue(filter)
}
