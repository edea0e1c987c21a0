/**
 * JSON with one spelling per value: keys sorted by UTF-16 code unit, no white space, numbers as ECMAScript prints them
 * (the rules of RFC 8785). Depth is bounded by the reading's schema before this runs.
 */
export function toCanonicalJson (value: unknown): string {
  if (typeof value === 'number') return String(value === 0 ? 0 : value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) {
    return value.some(isContainer) ? `[${value.map(toCanonicalJson).join(',')}]` : JSON.stringify(value)
  }
  const fields = value as Record<string, unknown>
  return `{${Object.keys(fields).sort().map((key) => `${JSON.stringify(key)}:${toCanonicalJson(fields[key])}`).join(',')}}`
}

const isContainer = (value: unknown) => typeof value === 'object' && value !== null

/**
 * An escape that PostgreSQL's jsonb refuses: U+0000, or half of a surrogate pair (JSON.stringify escapes only unpaired
 * ones).
 */
const UNSTORABLE = /(?:^|[^\\])(?:\\\\)*\\u(?:0000|d[89a-f])/

/**
 * Whether PostgreSQL can hold this text as jsonb. The check here spares the batch a failed transaction, which a hostile
 * device could otherwise cause with every message.
 * @param json - as {@link toCanonicalJson} writes it
 */
export function isStorableJson (json: string): boolean {
  return !json.includes('\\u') || !UNSTORABLE.test(json)
}
