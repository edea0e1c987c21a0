import { parseEnv } from 'node:util'
import { EnvironmentSchema } from '../../schemas/environment.ts'
import { ConfigError } from './config-error.ts'

/** A line that begins with the name of a variable of ours, or with one that looks like it, and has no `=` behind it. */
const NAMES = ['VITAL_\\w+', 'KAFKA_\\w+', ...Object.keys(EnvironmentSchema.properties)].join('|')
const WITHOUT_VALUE = new RegExp(`^\\s*(?:export\\s+)?(${NAMES})\\b(?!\\s*=)`)

/**
 * The variables of an `.env` file. Editors of other systems write a byte order mark, CRLF or UTF-16; each is read.
 * @throws {@link ConfigError} for bytes that are not text, and for a line that names a variable of ours without `=`
 */
export function parseEnvironmentFile (bytes: Buffer): Record<string, string> {
  const text = toText(bytes).replace(/^\ufeff/, '').replaceAll(/\r\n?/g, '\n')
  for (const [index, line] of text.split('\n').entries()) {
    const name = WITHOUT_VALUE.exec(line)?.[1]
    // The parser of Node.js would skip the line silently.
    if (name !== undefined) throw new ConfigError(`.env, line ${index + 1}: write ${name}=value.`)
  }
  // The parser may return undefined for a name: its types are those of an environment.
  return parseEnv(text) as Record<string, string>
}

function toText (bytes: Buffer): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return bytes.toString('utf16le')
  if (bytes[0] === 0xfe && bytes[1] === 0xff) {
    return Buffer.from(bytes.subarray(0, bytes.length & ~1)).swap16().toString('utf16le')
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    if (!text.includes('\0')) return text
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
  }
  throw new ConfigError('.env is not written in UTF-8, so its values cannot be read. Save it as UTF-8.')
}
