const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACKET = 0x5b

const isOpening = (byte: number) => byte === OPEN_BRACKET || byte === 0x7b
const isClosing = (byte: number) => byte === 0x5d || byte === 0x7d
const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/**
 * Visits each bracket, brace, comma and colon outside of strings.
 * @param visit - `depth` counts the arrays and objects around the byte, including one that it opens or closes; `false`
 *   ends the walk
 */
function walk (payload: Buffer, visit: (byte: number, at: number, depth: number) => boolean): void {
  let depth = 0
  let isInString = false
  for (let at = 0; at < payload.length; at++) {
    const byte = payload[at] as number
    if (isInString) {
      if (byte === BACKSLASH) at++
      else if (byte === QUOTE) isInString = false
    } else if (byte === QUOTE) {
      isInString = true
    } else if (isOpening(byte)) {
      if (!visit(byte, at, ++depth)) return
    } else if (isClosing(byte)) {
      if (!visit(byte, at, depth--)) return
    } else if (byte === COMMA || byte === COLON) {
      if (!visit(byte, at, depth)) return
    }
  }
}

/** The size of a JSON text, in other units than bytes. */
export interface Extent {
  /** Levels of nesting; counting ends at the first level beyond `depthMax`. */
  readonly depth: number
  /** Elements of the outermost array (1 if it is empty); 0 for other values. */
  readonly elements: number
  /** Names in the outermost object, nested ones included; 0 for other values. */
  readonly names: number
}

/**
 * Measures a hostile text in a thousandth of the time of JSON.parse, which took 13 ms for 200 KiB of `[` and 10 for
 * 20,000 names.
 * @param payload - any bytes; the counts mean little unless they are JSON
 */
export function extentOf (payload: Buffer, depthMax: number): Extent {
  let depth = 0
  let commas = 0
  let colons = 0
  let isArray = false
  walk(payload, (byte, _at, level) => {
    if (level > depth) {
      if (level === 1) isArray = byte === OPEN_BRACKET
      depth = level
    }
    if (byte === COLON) colons++
    else if (byte === COMMA && level === 1) commas++
    return depth <= depthMax
  })
  return { depth, elements: isArray ? commas + 1 : 0, names: isArray ? 0 : colons }
}

/**
 * The original bytes of each element of a JSON array. Serializing a parsed element would change it (`1e999` becomes
 * null, a name given twice is given once). Also, JSON.stringify recurses, and an element nested a few thousand levels
 * deep overflows the stack.
 * @param payload - an array that JSON.parse accepted, with at least one element
 */
export function splitArray (payload: Buffer): Buffer[] {
  const elements: Buffer[] = []
  let start = 0
  walk(payload, (byte, at, depth) => {
    if (depth !== 1) return true
    if (!isOpening(byte)) elements.push(trim(payload, start, at))
    start = at + 1
    return true
  })
  return elements
}

function trim (payload: Buffer, start: number, end: number): Buffer {
  while (isSpace(payload[start] as number)) start++
  while (isSpace(payload[end - 1] as number)) end--
  return payload.subarray(start, end)
}
