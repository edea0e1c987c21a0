import { type ChildProcess, spawn } from 'node:child_process'
import type { Logger } from 'pino'
import type { Recordings } from '../http/page/page.ts'

interface RecordingsPlayerOptions {
  /** Path of the program `vital-gateway`. */
  readonly program: string
  /** Of this gateway's MQTT over TCP on loopback; `null` while it does not listen. */
  readonly mqttPort: () => number | null
  readonly logger: Logger
}

/** Plays the shipped recordings into this gateway: `vital-gateway play --loop` as a child process. */
export function createRecordingsPlayer ({ program, mqttPort, logger }: RecordingsPlayerOptions): Recordings {
  let child: ChildProcess | null = null

  function start (): void {
    const port = mqttPort()
    if (child !== null || port === null) return
    const args = [...process.execArgv, program, 'play', '--loop', '--url', `mqtt://127.0.0.1:${port}`]
    const started = spawn(process.execPath, args, { stdio: 'ignore' })
    child = started
    const end = (fault: object) => {
      if (child !== started) return
      child = null
      logger.warn(fault, 'playing the recordings ended by itself')
    }
    started.on('error', (error) => { end({ err: error }) })
    started.on('exit', (code, signal) => { end({ code, signal }) })
    logger.info({ pid: started.pid }, 'the recordings are being played')
  }

  function stop (): void {
    const ended = child
    child = null
    ended?.kill()
  }

  return { isPlaying: () => child !== null, start, stop }
}
