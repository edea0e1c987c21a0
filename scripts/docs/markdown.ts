/** A part of a file that is written from the code; it stands between `name:begin` and `name:end`. */
export interface Section {
  /** From the top of the repository. */
  readonly file: string
  readonly name: string
  /** What stands between the markers, the last line end included. */
  readonly text: string
  /** Records of runs change with each run, so a stale one is not a fault. */
  readonly isRecord?: true
}

export type Align = 'left' | 'right'

/** A Markdown table. @param aligns - of each column; left where left out */
export function toMarkdownTable (heads: readonly string[], rows: ReadonlyArray<readonly string[]>,
  aligns: readonly Align[] = []): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll(/(?<!\\)\|/g,
    '\\|')).join(' | ')} |\n`
  const rule = `|${heads.map((_, column) => aligns[column] === 'right' ? '--:' : '---').join('|')}|\n`
  return `${line(heads)}${rule}${rows.map(line).join('')}`
}

/** `a`, `b` as code. */
export function toCode (names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(' ')
}

/**
 * Puts a section between its markers, comments of Markdown (`<!-- name:begin -->`) or YAML and .env (`# name:begin`).
 * @throws when the markers are missing
 */
export function replaceSection (text: string, { file, name, text: section }: Section): string {
  const markers = new RegExp(`(^ *(?:<!-- |# )${name}:begin\\b.*\\n)[^]*?(^ *(?:<!-- |# )${name}:end\\b)`, 'm')
  if (!markers.test(text)) throw new Error(`${file} lacks the markers ${name}:begin and ${name}:end`)
  return text.replace(markers, (_, begin: string, end: string) => `${begin}${section}${end}`)
}
