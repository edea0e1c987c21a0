/** Quotes for a POSIX shell. */
export const quote = (text: string): string => /^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`

/**
 * The inside of a JSON string that stands between the double quotes of a shell. A device id may hold these characters,
 * and a shell would run what is between backticks.
 */
export const toQuotedJson = (text: string): string =>
  text.replaceAll(/["\\`$!]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
