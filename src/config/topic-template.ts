import { isDeviceId } from '../../schemas/device-id.ts'
import { ConfigError } from './config-error.ts'

/** The topics of an external broker that carry readings, and the device of each. */
export interface TopicTemplate {
  /** As the operator wrote it. */
  readonly text: string
  /** Matches these topics. */
  readonly filter: string
  /** @returns `null` for a topic that does not fit, or whose level of the device holds no valid id */
  deviceOf (topic: string): string | null
}

const DEVICE = '{device}'

/**
 * `ward/+/monitor/{device}` → filter `ward/+/monitor/+`, and the device of a topic that it matches. A `+` beside the
 * device needs the operator's consent: `ward/1/monitor/7` and `ward/2/monitor/7` would become one device, and their
 * patients may be two.
 * @throws `ConfigError`
 */
export function parseTopicTemplate (text: string, { areWildcardsAllowed }: { readonly areWildcardsAllowed: boolean }): TopicTemplate {
  const levels = text.split('/')
  const deviceAt = levels.indexOf(DEVICE)
  const fault = findFault(text, levels)
  if (fault !== null) throw new ConfigError(`VITAL_BRIDGE_TOPIC=${text} ${fault}`)
  if (levels.includes('+') && !areWildcardsAllowed) {
    throw new ConfigError(`VITAL_BRIDGE_TOPIC=${text} has a + beside {device}: device 7 of two topics would be one device. Name ` +
      'the level, ' +
      'run a bridge for each, or set VITAL_BRIDGE_ALLOW_WILDCARDS=true where ids are unique across all topics that match.')
  }
  return Object.freeze({
    text,
    filter: levels.map((level) => level === DEVICE ? '+' : level).join('/'),
    deviceOf (topic: string): string | null {
      const given = topic.split('/')
      if (given.length !== levels.length) return null
      const isMatch = levels.every((level, index) => level === DEVICE || level === '+' || level === given[index])
      const id = given[deviceAt]!
      return isMatch && isDeviceId(id) ? id : null
    }
  })
}

/** Why the text is not a template, as the end of a sentence; `null`: it is one. */
function findFault (text: string, levels: readonly string[]): string | null {
  if (levels.filter((level) => level === DEVICE).length !== 1) {
    return 'must have one level that is {device}, such as ward/monitor/{device}.'
  }
  if (text.startsWith('$')) return 'must not begin with $: that is for the broker, and the group is VITAL_BRIDGE_GROUP.'
  const bad = levels.find((level) => level !== '+' && level !== DEVICE && /[+#{}\p{Cc}]/u.test(level))
  if (bad === undefined) return null
  return bad.includes('#')
    ? 'must not hold #: messages that are not readings would come too.'
    : `has the level "${bad}": a level is a name, + or {device}.`
}
