const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c

const isOpening = (byte: number) => byte === 0x5b || byte === 0x7b
const isClosing = (byte: number) => byte === 0x5d || byte === 0x7d
const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/**
 * The bytes of each element of a JSON array, as they came. Writing a parsed element anew would change it (`1e999` becomes
 * null, a name given twice is given once), and JSON.stringify recurses: an element nested a few thousand levels deep ended
 * the process with a stack overflow.
 * @param payload - an array that JSON.parse took, with at least one element
 */
export function splitArray (payload: Buffer): Buffer[] {
  const elements: Buffer[] = []
  let depth = 0
  let isInString = false
  let start = 0
  for (let at = 0; at < payload.length; at++) {
    const byte = payload[at] as number
    if (isInString) {
      if (byte === BACKSLASH) at++
      else if (byte === QUOTE) isInString = false
    } else if (byte === QUOTE) {
      isInString = true
    } else if (isOpening(byte)) {
      if (++depth === 1) start = at + 1
    } else if (isClosing(byte)) {
      if (--depth === 0) elements.push(trim(payload, start, at))
    } else if (byte === COMMA && depth === 1) {
      elements.push(trim(payload, start, at))
      start = at + 1
    }
  }
  return elements
}

function trim (payload: Buffer, start: number, end: number): Buffer {
  while (isSpace(payload[start] as number)) start++
  while (isSpace(payload[end - 1] as number)) end--
  return payload.subarray(start, end)
}
