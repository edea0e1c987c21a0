/** Characters of a device id. */
const DEVICE_ID_LENGTH_MAX = 128

/** The message for a bad device id. */
export const DEVICE_ID_RULE = '1 to 128 characters, without / + # $ and control characters, and neither . nor ..'

/**
 * `/ + #` would change the topic's meaning, `$` opens the broker's own topics [MQTT-4.7.2-1], control characters
 * forge log lines. Invalid UTF-8 decodes to U+FFFD, so two broken ids would become one. A lone surrogate has no UTF-8
 * form, so PostgreSQL could not hold it.
 */
const DEVICE_ID_PATTERN = '^[^/+#$\\u0000-\\u001f\\u007f-\\u009f\\ud800-\\udfff\\ufffd]{1,128}$'
const DEVICE_ID = new RegExp(DEVICE_ID_PATTERN, 'u')

/** Of a prefix of device ids, as a regular expression with the flag `u`. */
export const DEVICE_PREFIX_PATTERN = DEVICE_ID_PATTERN

/** The message for a bad prefix. */
export const DEVICE_PREFIX_RULE =
  'must be how a device id begins: 1 to 128 characters, without / + # $ and control characters'

/** @returns a text that sorts behind every device id that begins with `prefix`, and before all ids behind those */
export function toPrefixEnd (prefix: string): string {
  return prefix + '\u{10ffff}'.repeat(DEVICE_ID_LENGTH_MAX)
}

/** Names that reach the prototype of a plain object; refused as an id and as a key of a reading. */
export const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/** Whether `id` may name a device: {@link DEVICE_ID_RULE}, and none of {@link FORBIDDEN_NAMES}. */
export function isDeviceId (id: string): boolean {
  return isStoredDeviceId(id) && id !== '.' && id !== '..'
}

/**
 * {@link isDeviceId}, and also `.` and `..`, which a table may hold from earlier versions. Clients and proxies resolve
 * both in a URL (RFC 3986 §5.2.4), as `%2e` too, so no request reaches them. Their rows can be erased.
 */
export function isStoredDeviceId (id: string): boolean {
  return DEVICE_ID.test(id) && !FORBIDDEN_NAMES.has(id)
}
