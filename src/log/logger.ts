import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'
import { PinoPretty } from 'pino-pretty'

interface LogOptions {
  readonly level: string
  /** The hash that replaces client and device ids. */
  readonly hashId?: ((id: string) => string) | undefined
  /** Instead of stdout. */
  readonly destination?: DestinationStream
  /** Readable lines instead of JSON; by default when stdout is a terminal. */
  readonly isPretty?: boolean
}

/** Controls of terminals (DEL and C1), line ends that JSON does not escape, characters that hide or reverse text. */
const TREACHEROUS = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g

const toEscape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/**
 * JSON lines on stdout, or a readable form when a person watches. Written synchronously, so the last line survives a
 * crash.
 *
 * Clients choose their ids, so a line may hold any text. JSON escapes line ends, quotes and ESC. Other characters that
 * could forge a line or move a terminal's cursor are escaped here, in every field. Of an error only type, message,
 * stack, code and cause are logged: pg attaches the row that was refused to its errors, and Aedes the packet.
 */
export function createLogger (
  { level, hashId, destination, isPretty = process.stdout.isTTY && destination === undefined }: LogOptions
): Logger {
  const options: LoggerOptions = { level, base: null, serializers: { err: toLoggedError, ...idSerializers(hashId) } }
  if (!isPretty) {
    const out = destination ?? openStdout()
    return pino(options, { write: (line) => { out.write(line.replace(TREACHEROUS, toEscape)) } })
  }
  const pretty = PinoPretty({
    colorize: true,
    sync: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ...(destination === undefined
      ? {}
      : { destination: destination as never })
  })
  // Twice escaped, because the pretty printer parses the line before it prints it.
  return pino(options,
    { write: (line) => { pretty.write(line.replace(TREACHEROUS, (character) => `\\${toEscape(character)}`)) } })
}

/** Lines that could not be written to stdout: kept up to this size, then dropped. */
const UNWRITTEN_BYTES_MAX = 1024 * 1024

/**
 * Stdout may be a file on a disk that is full. That must not end the process: devices are still served, and lines wait
 * for room. Without a listener any call of the logger would throw, also in the handler of uncaught exceptions.
 */
function openStdout (): DestinationStream {
  const stdout = pino.destination({ dest: 1, sync: true, maxLength: UNWRITTEN_BYTES_MAX })
  stdout.on('error', () => {})
  return stdout
}

/** The fields that hold ids; a topic of a device holds its id. */
function idSerializers (hashId: LogOptions['hashId']): Record<string, (value: unknown) => unknown> {
  if (hashId === undefined) return {}
  const hash = (value: unknown) => typeof value === 'string' ? hashId(value) : value
  return {
    clientId: hash,
    device: hash,
    principal: hash,
    actor: hash,
    topic: (value) => typeof value === 'string'
      ? hashTopic(value, hashId)
      : value
  }
}

/** `vital/{device}/rejected` keeps its form; in other topics the level of the id is unknown. */
function hashTopic (topic: string, hashId: (id: string) => string): string {
  const [, device, rest = ''] = /^vital\/([^/]+)(\/rejected)?$/.exec(topic) ?? []
  return device === undefined ? hashId(topic) : `vital/${hashId(device)}${rest}`
}

interface LoggedError {
  readonly type: string
  readonly message: string
  readonly stack?: string
  readonly code?: unknown
  readonly cause?: unknown
}

/** Causes of causes; a loop of them ends here too. */
const CAUSES_MAX = 4

function toLoggedError (error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return typeof error === 'object' ? typeof error : error
  const { name, message, stack, cause } = error
  const code = (error as { code?: unknown }).code
  const logged: LoggedError = {
    type: name,
    message,
    ...(stack === undefined ? {} : { stack }),
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(cause === undefined || depth >= CAUSES_MAX ? {} : { cause: toLoggedError(cause, depth + 1) })
  }
  return logged
}
