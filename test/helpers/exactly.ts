/**
 * A pattern for `t.match` of a list with exactly these elements. With a list as its pattern, `t.match` ignores further elements.
 * @param patterns - one for each element, in order
 */
export function exactly (...patterns: readonly unknown[]): object {
  return { ...patterns, length: patterns.length }
}
