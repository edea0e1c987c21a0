/** Kept because nearly every reading uses the same few names; bounded because a device may invent names. */
const quotedNames = new Map<string, string>()
const QUOTED_NAMES_MAX = 1000

/** A field's name as a JSON string. */
export function toQuotedName (name: string): string {
  let quoted = quotedNames.get(name)
  if (quoted === undefined) {
    quoted = JSON.stringify(name)
    if (quotedNames.size < QUOTED_NAMES_MAX) quotedNames.set(name, quoted)
  }
  return quoted
}
