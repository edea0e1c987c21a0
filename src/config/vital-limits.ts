import { DEVICE_PREFIX_PATTERN, DEVICE_PREFIX_RULE } from '../../schemas/device-id.ts'
import { VITAL_SIGNS } from '../../schemas/reading.ts'
import type { Limits } from '../http/page/page.ts'
import { ConfigError } from './config-error.ts'

const EXAMPLE = '{"ward-3-":{"heartRateValue":[50,120],"spo2Value":[90,100]}}'
const PREFIX = new RegExp(DEVICE_PREFIX_PATTERN, 'u')

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * `VITAL_LIMITS` → by prefix of the device id, the range of each vital sign. JSON, because a device id may hold any
 * separator. The prefix `""` is every device. Without a setting there are no limits.
 * @throws {@link ConfigError} that names what is wrong
 */
export function parseVitalLimits (text: string): Readonly<Record<string, Limits>> {
  if (text === '') return {}
  const fail = (fault: string, cause?: unknown) => new ConfigError(`VITAL_LIMITS ${fault}`, { cause })
  let limits: unknown
  try {
    limits = JSON.parse(text)
  } catch (error) {
    throw fail(`must be JSON such as ${EXAMPLE}: ${(error as Error).message}`, error)
  }
  if (!isObject(limits)) throw fail(`must be an object of prefixes, such as ${EXAMPLE}`)
  for (const [prefix, ranges] of Object.entries(limits)) {
    const where = JSON.stringify(prefix)
    if (prefix !== '' && !PREFIX.test(prefix)) throw fail(`has the prefix ${where}, which ${DEVICE_PREFIX_RULE}`)
    if (!isObject(ranges)) throw fail(`must have an object of vital signs for ${where}, such as ${EXAMPLE}`)
    for (const [sign, range] of Object.entries(ranges)) {
      if (!VITAL_SIGNS.some((known) => known === sign)) {
        throw fail(`has ${JSON.stringify(sign)} for ${where}; a vital sign is one of ${VITAL_SIGNS.join(', ')}`)
      }
      if (!isRange(range)) throw fail(`must have the lowest and the highest value for ${sign} of ${where}, such as [50,120]`)
    }
  }
  return limits as Record<string, Limits>
}

function isRange (range: unknown): range is [number, number] {
  if (!Array.isArray(range) || range.length !== 2) return false
  const [low, high] = range as unknown[]
  return typeof low === 'number' && typeof high === 'number' && Number.isFinite(low) && Number.isFinite(high) && low <= high
}
