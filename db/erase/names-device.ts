/**
 * Whether a refused payload holds data of a device, on any topic: by a `device` anywhere in its JSON or, where it is
 * not JSON, by the id in quotes.
 */

/** @param device - a valid id */
export function namesDevice (payload: Buffer, device: string): boolean {
  // Cheap, and enough for nearly all payloads: an id that is absent as plain text can be present only with escapes.
  if (!payload.includes(device) && !payload.includes('\\')) return false
  const text = payload.toString('utf8')
  try {
    return holdsDevice(JSON.parse(text), device) || isGivenTwice(text, device)
  } catch {
    const plain = text.replaceAll(/\\u([0-9a-f]{4})/gi,
      (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    return [
      text, plain
    ].some((candidate) => [
      JSON.stringify(device), `"${device}"`, `'${device}'`
    ].some((quoted) => candidate.includes(quoted)))
  }
}

/** With a stack of its own: a dead letter may nest too deep for recursion. */
function holdsDevice (value: unknown, device: string): boolean {
  const left: unknown[] = [value]
  while (left.length > 0) {
    const next = left.pop()
    if (typeof next !== 'object' || next === null) continue
    if (!Array.isArray(next) && (next as { device?: unknown }).device === device) return true
    for (const inner of Object.values(next)) if (typeof inner === 'object' && inner !== null) left.push(inner)
  }
  return false
}

/** JSON.parse keeps the last of two equal names, so the first is looked for in the text. */
function isGivenTwice (text: string, device: string): boolean {
  return new RegExp(`"device"\\s*:\\s*${escapeExpression(JSON.stringify(device))}`).test(text)
}

function escapeExpression (text: string): string {
  return text.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&')
}
