/** A text in a form that every encoding of a database holds: characters outside ASCII are escaped as in JSON. */
export function toAscii (text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
