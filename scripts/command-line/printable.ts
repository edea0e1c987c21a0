/** Control characters, format characters (among them those that reverse the direction of text), line and paragraph separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/**
 * Untrusted text → text without control characters: an escape sequence in a topic could rewrite the
 * screen. Escaped as in JSON, so that JSON stays the same JSON.
 * @param keep - characters to leave alone
 */
export function toPrintable (text: string, keep = ''): string {
  return text.replace(UNPRINTABLE, (character) => keep.includes(character)
    ? character
    : Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''))
}

/** A value as JSON for a person or a program. */
export function toPrintableJson (value: unknown): string {
  return toPrintable(JSON.stringify(value, null, 2), '\n')
}

/** Columns as wide as their widest cell. */
export function toTable (rows: ReadonlyArray<readonly string[]>): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
}
