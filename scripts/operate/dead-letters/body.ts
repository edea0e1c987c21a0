import { isUtf8 } from 'node:buffer'
import { deviceOf } from '../../../broker/topics.ts'
import type { StoredDeadLetter } from '../../../schemas/dead-letter.ts'

/** The body to POST for a letter, or why it cannot be sent as it is. */
export type ResendBody = { readonly body: Buffer } | { readonly why: string }

/**
 * The letter as a client sends it over HTTP: without a topic, so a reading that names no device is given the topic's.
 * Other faults of the payload are left to the gateway.
 * @param options.device - replaces the topic's device
 * @param options.payload - replaces the letter's own
 */
export function toResendBody (
  letter: Pick<StoredDeadLetter, 'topic' | 'deviceId' | 'payload'>, options: { device: string | null, payload: Buffer | null }
): ResendBody {
  const payload = options.payload ?? letter.payload
  // A topic such as vital/ward-3/hr names a device; only a person can tell whether this reading is of that device.
  const device = options.device ?? (letter.topic === null ? letter.deviceId : deviceOf(letter.topic))
  if (device === null) {
    return letter.topic === null ? { body: payload } : { why: 'its topic names no valid device; say which device sent it with --as DEVICE' }
  }
  const value = parse(payload)
  const objects = (Array.isArray(value) ? value as unknown[] : [value]).filter(isObject)
  // Over HTTP the payload's own device would count, and the reading would be stored for a device that never sent it.
  if (objects.some((object) => typeof object['device'] === 'string' && object['device'] !== device)) {
    return { why: `its payload names another device than ${options.device === null ? 'its topic' : '--as'}; mend it with --payload FILE` }
  }
  if (objects.every((object) => Object.hasOwn(object, 'device'))) return { body: payload }
  return { body: Buffer.from(insertDevice(payload.toString(), objects, Array.isArray(value) ? 1 : 0, device)) }
}

/** `undefined`: the payload is not JSON. */
function parse (payload: Buffer): unknown {
  if (!isUtf8(payload)) return undefined
  try {
    return JSON.parse(payload.toString())
  } catch {
    return undefined
  }
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Inserts into the text, not the value: JSON.stringify would turn a `1e999` that the gateway refuses into a null that
 * it keeps.
 * @param text - valid JSON
 * @param objects - the objects at `depth`, in order
 */
function insertDevice (text: string, objects: readonly Record<string, unknown>[], depth: number, device: string): string {
  const named = `"device":${JSON.stringify(device)}`
  let result = ''
  let copied = 0
  let level = 0
  let next = 0
  // A string, or one character of structure; a string is skipped whole, whatever brackets it holds.
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]+|\\.)*"|[[{\]}]/g)) {
    if (token === '{' && level === depth) {
      const object = objects[next++]
      if (object !== undefined && !Object.hasOwn(object, 'device')) {
        result += text.slice(copied, index + 1) + named + (Object.keys(object).length === 0 ? '' : ',')
        copied = index + 1
      }
    }
    if (token === '{' || token === '[') level++
    else if (token === '}' || token === ']') level--
  }
  return result + text.slice(copied)
}
