/**
 * Orders device ids by their UTF-8 bytes, as collate "C" does in PostgreSQL. That is the order of code points;
 * JavaScript's own is that of UTF-16 units, in which surrogates (U+10000 and above) come before U+E000 to U+FFFF.
 */
export function compareDevices (a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index)
    const right = b.charCodeAt(index)
    if (left !== right) {
      return left >= 0xd800 && right >= 0xd800 ? toCodePointOrder(left) - toCodePointOrder(right) : left - right
    }
  }
  return a.length - b.length
}

/** Exchanges surrogates (0xd800 to 0xdfff) and the units above them. */
function toCodePointOrder (unit: number): number {
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}
