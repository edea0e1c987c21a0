/**
 * Dead letters that the database refuses in every form (a trigger, a constraint). They are kept in a file of the data
 * directory, one JSON object a line, payload in base64. No other message waits for such a letter, and nothing that was
 * acknowledged is lost.
 */
import { open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { toAscii } from '../../../db/escaped-text.ts'
import type { DeadLetterRow } from '../../../db/rows.ts'
import { eraseRefusedLetters } from './erase-refused-letters.ts'

const REFUSED_LETTERS_FILE = 'refused-dead-letters.ndjson'

/** A retried batch brings the same letters; beyond this number, a letter may be kept twice. */
const KNOWN_MAX = 10_000

/**
 * Size bound of the file. Above it, a letter is acknowledged and dropped: if it were held back, it would block its
 * batch again.
 */
const BYTES_MAX = 1024 * 1024 * 1024
/**
 * Size of the file above which it takes no more garbage. The rest is for readings that pass every rule of the gateway
 * and that a constraint of the operator refuses.
 */
const GARBAGE_BYTES_MAX = 64 * 1024 * 1024

interface RefusedLettersOptions {
  readonly dataDir: string
  readonly logger: Logger
  readonly bytesMax?: number
  readonly garbageBytesMax?: number
}

export function createRefusedLetters (
  { dataDir, logger, bytesMax = BYTES_MAX, garbageBytesMax = GARBAGE_BYTES_MAX }: RefusedLettersOptions
) {
  const path = join(dataDir, REFUSED_LETTERS_FILE)
  const known = new Set<string>()
  let count = 0
  let dropped = 0
  let last: Promise<unknown> = Promise.resolve()

  /** Runs one change at a time, because an erasure rewrites the file. */
  async function inTurn (run: () => Promise<void>): Promise<void> {
    const turn = last.then(run)
    last = turn.catch(() => {})
    await turn
  }

  function drop (letter: DeadLetterRow, refusal: string): void {
    // Logged once: the metric counts the others, and the warning stays.
    if (dropped++ > 0) return
    logger.error({ id: letter.id, reason: letter.reason, refusal, path },
      'a dead letter that the database refused is dropped, and further ones too, because their file is full. Read ' +
      'the file, then move it away')
  }

  function warnings (): string[] {
    const kept = count - dropped
    return [
      ...kept === 0 ? [] : [`the database refused ${kept} dead letters; they are kept in ${path}`],
      ...dropped === 0
        ? []
        : [`the database refused ${dropped} dead letters that are dropped, because ${path} was full: read it, and ` +
          'move it away']
    ]
  }

  async function keepNow (letter: DeadLetterRow, refusal: string): Promise<void> {
    if (known.has(letter.id)) return
    const line = `${JSON.stringify({ ...letter, payload: letter.payload.toString('base64'), refusal })}\n`
    const isKept = await append(path, line,
      letter.reason === 'database_rejected' ? bytesMax : Math.min(bytesMax, garbageBytesMax))
    if (known.size < KNOWN_MAX) known.add(letter.id)
    count++
    if (!isKept) drop(letter, refusal)
    else {
      logger.error({ id: letter.id, reason: letter.reason, refusal, path },
        'the database refused a dead letter; it is kept in a file')
    }
  }

  return {
    /** Letters that the database refused, including dropped ones. */
    count: () => count,
    dropped: () => dropped,
    warnings,
    /** Settles when it is on disk. @throws the error of the file system */
    keep: (letter: DeadLetterRow, refusal: string): Promise<void> => inTurn(() => keepNow(letter, refusal)),
    /** Removes the letters of a device, and those whose payload names it. @throws the error of the file system */
    erase: (device: string): Promise<void> => inTurn(() => eraseRefusedLetters(path, device))
  }
}

export type RefusedLetters = ReturnType<typeof createRefusedLetters>

/** @returns whether it is on disk; `false`: the file would be larger than it may be */
async function append (path: string, line: string, bytesMax: number): Promise<boolean> {
  const file = await open(path, 'a+', 0o600)
  try {
    // Read each time: the operator may have moved the file away.
    const { size } = await file.stat()
    if (size + Buffer.byteLength(line) > bytesMax) return false
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1))
    // If a crash or a full disk cut the last line short, this one must not be joined with it.
    await file.appendFile(size === 0 || buffer[0] === 0x0a ? line : `\n${line}`)
    await file.sync()
    if (size > 0) return true
  } finally {
    await file.close()
  }
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
  return true
}

/** The same letter with texts that any encoding of a database holds: non-ASCII characters are escaped as in JSON. */
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
