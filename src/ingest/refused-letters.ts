/**
 * Dead letters that the database refuses, whatever is left out of them (a trigger, a constraint): kept in a file of the data directory, one JSON object a
 * line, payload in base64. Nobody else waits for one, and nothing that was acknowledged is lost.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { DeadLetterRow } from '../../db/rows.ts'

export const REFUSED_LETTERS_FILE = 'refused-dead-letters.ndjson'

/** A batch that is tried again brings the same ones; more are kept twice. */
const KNOWN_MAX = 10_000

export function createRefusedLetters ({ dataDir, logger }: { readonly dataDir: string, readonly logger: Logger }) {
  const path = join(dataDir, REFUSED_LETTERS_FILE)
  const known = new Set<string>()
  let count = 0

  return {
    count: () => count,
    warnings: (): string[] => count === 0 ? [] : [`the database refused ${count} dead letters; they are kept in ${path}`],
    /** Settles when it is on disk. @throws the error of the file system */
    async keep (letter: DeadLetterRow, refusal: string): Promise<void> {
      if (known.has(letter.id)) return
      const file = await open(path, 'a', 0o600)
      try {
        await file.write(`${JSON.stringify({ ...letter, payload: letter.payload.toString('base64'), refusal })}\n`)
        await file.sync()
      } finally {
        await file.close()
      }
      if (known.size < KNOWN_MAX) known.add(letter.id)
      count++
      logger.error({ id: letter.id, reason: letter.reason, refusal, path }, 'the database refused a dead letter; it is kept in a file')
    }
  }
}

export type RefusedLetters = ReturnType<typeof createRefusedLetters>

/** The same letter with texts that any encoding of a database holds: what is not ASCII is escaped as in JSON. */
export function toPlainLetter (letter: DeadLetterRow): DeadLetterRow {
  const { topic, clientId, device, errors } = letter
  return {
    ...letter,
    topic: toAsciiOrNull(topic),
    clientId: toAsciiOrNull(clientId),
    device: toAsciiOrNull(device),
    errors: errors.map(({ path, message }) => ({ path: toAscii(path), message: toAscii(message) }))
  }
}

function toAsciiOrNull (text: string | null): string | null {
  return text === null ? null : toAscii(text)
}

function toAscii (text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
