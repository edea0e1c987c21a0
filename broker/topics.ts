import { isDeviceId } from '../schemas/device-id.ts'

/** Topics that only the gateway may publish on. Exactly this: Paho's suite publishes on `$TopicA`. */
export const RESERVED_PREFIX = '$SYS/'

/** Where the broker's statistics lie; nothing else below {@link RESERVED_PREFIX} ever reaches a subscriber. */
export const STATISTICS_PREFIX = '$SYS/broker/'

/**
 * Where a publish goes that must be acknowledged and seen by nobody. Aedes acknowledges and fans out in one step,
 * so the topic is exchanged in between; {@link isFannedOut} is false for it.
 */
export const DISCARDED_TOPIC = '$SYS/discarded'

const VITAL_PREFIX = 'vital/'

/** Whether `topic` is ingested: everything below `vital/`, valid or not. The bare topic `vital` is not. */
export function isVitalTopic (topic: string): boolean {
  return topic.startsWith(VITAL_PREFIX)
}

/** The device of `vital/{valid id}`; `null` for any other topic below `vital/`. */
export function deviceOf (topic: string): string | null {
  const id = topic.slice(VITAL_PREFIX.length)
  return isDeviceId(id) ? id : null
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
