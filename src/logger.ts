import { type Logger, pino } from 'pino'
import { PinoPretty } from 'pino-pretty'

/** JSON lines on stdout, or a readable form when a person watches. Written synchronously, so the last line survives a crash. */
export function createLogger (level: string): Logger {
  if (!process.stdout.isTTY) return pino({ level, base: null })
  return pino({ level, base: null }, PinoPretty({ colorize: true, sync: true, translateTime: 'SYS:HH:MM:ss.l' }))
}
