/** The message for a bad device id. */
export const DEVICE_ID_RULE = '1 to 128 characters, without / + # $ and control characters, and neither . nor ..'

/**
 * `/ + #` would change the topic's meaning, `$` opens the broker's own topics [MQTT-4.7.2-1], control characters
 * forge log lines. U+FFFD is what invalid UTF-8 decodes to, so two broken ids would meet in it; a lone surrogate
 * has no UTF-8 form, so PostgreSQL could not hold it.
 */
// eslint-disable-next-line no-control-regex -- control characters are what it refuses
const DEVICE_ID = /^[^/+#$\u0000-\u001f\u007f-\u009f\ud800-\udfff\ufffd]{1,128}$/u

/** Names that reach the prototype of a plain object; refused as an id and as a key of a reading. */
export const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/** Whether `id` may name a device: {@link DEVICE_ID_RULE}, and none of {@link FORBIDDEN_NAMES}. */
export function isDeviceId (id: string): boolean {
  return isStoredDeviceId(id) && id !== '.' && id !== '..'
}

/**
 * The same, and `.` and `..`, which were accepted until they were found to be out of reach: clients and proxies resolve
 * them in a URL (RFC 3986 §5.2.4), as `%2e` too. Rows of theirs can still be erased.
 */
export function isStoredDeviceId (id: string): boolean {
  return DEVICE_ID.test(id) && !FORBIDDEN_NAMES.has(id)
}
