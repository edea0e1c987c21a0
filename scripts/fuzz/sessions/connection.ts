import { connect, type Socket } from 'node:net'
import { FrameScanner, PUBACK, PUBREC } from '../../harness/packet-scanner.ts'
import type { Session } from './session.ts'

/** Longer than the gateway waits for a CONNECT, or holds a publish. */
const CLOSE_TIMEOUT_MS = 20_000
const LINGER_MS = 400

/** The result of one session. */
export interface Played {
  readonly acknowledged: number
  readonly statuses: readonly string[]
  /** The gateway was the first to close. */
  readonly isClosedByGateway: boolean
  /** It did not close within {@link CLOSE_TIMEOUT_MS} after this side had. */
  readonly isLeftOpen: boolean
  /** The connection was not accepted. */
  readonly isRefused: boolean
}

/** Finds status lines; bodies of the gateway's answers hold none. */
class Statuses {
  readonly seen: string[] = []
  #rest = ''

  scan (chunk: Buffer): void {
    const text = this.#rest + chunk.toString('latin1')
    for (const [, status] of text.matchAll(/HTTP\/1\.1 (\d{3})/g)) this.seen.push(status as string)
    const last = text.lastIndexOf('HTTP/1.1 ')
    this.#rest = last >= 0 && text.length - last < 12 ? text.slice(last) : text.slice(-11).replace(/^.*HTTP\/1\.1 \d{3}/, '')
  }
}

/**
 * Plays a session over a connection of its own.
 * @param localAddress - the loopback address that it comes from, so that ports do not run out
 */
export function play (session: Session, port: number, localAddress: string | undefined): Promise<Played> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true, ...(localAddress === undefined ? {} : { localAddress }) })
    const scanner = new FrameScanner()
    const statuses = new Statuses()
    const isMqtt = session.target === 'mqtt' || session.target === 'mqtt5' || session.target === 'payload'
    const state = { acknowledged: 0, isConnected: false, isEnding: false, isLeftOpen: false }
    let timer: NodeJS.Timeout | null = null
    const later = (ms: number, act: () => void) => {
      if (timer !== null) clearTimeout(timer)
      timer = setTimeout(act, ms)
    }

    const finish = () => {
      state.isEnding = true
      socket.end()
      later(CLOSE_TIMEOUT_MS, () => {
        state.isLeftOpen = true
        socket.destroy()
      })
    }
    const vanish = (isReset: boolean) => {
      state.isEnding = true
      if (isReset) socket.resetAndDestroy()
      else socket.destroy()
    }
    const isAcknowledged = () => state.acknowledged >= session.acknowledgements
    const leave = () => { leaveBy(session, { finish, vanish, later, isAcknowledged }) }

    socket.on('connect', () => {
      state.isConnected = true
      // A subscriber that does not read.
      if (session.fate === 'linger') socket.pause()
      writeAll(socket, session.pieces, leave)
    })
    socket.on('data', (chunk: Buffer) => {
      if (!isMqtt) {
        statuses.scan(chunk)
        if (session.answersMax > 0 && statuses.seen.length >= session.answersMax && session.fate === 'end' && !state.isEnding) finish()
        return
      }
      scanner.scan(chunk, chunk.length, (type) => {
        if (type !== PUBACK && type !== PUBREC) return
        state.acknowledged++
        if (session.acknowledgements > 0 && isAcknowledged() && !state.isEnding) finish()
      })
    })
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => {
      if (timer !== null) clearTimeout(timer)
      resolve({
        acknowledged: state.acknowledged,
        statuses: statuses.seen,
        isClosedByGateway: !state.isEnding,
        isLeftOpen: state.isLeftOpen,
        isRefused: !state.isConnected
      })
    })
  })
}

function writeAll (socket: Socket, pieces: readonly Buffer[], done: () => void): void {
  let at = 0
  const next = () => {
    if (socket.destroyed || !socket.writable) return
    const piece = pieces[at++]
    if (piece === undefined) return done()
    socket.write(piece)
    setImmediate(next)
  }
  next()
}

interface Ways {
  readonly finish: () => void
  readonly vanish: (isReset: boolean) => void
  readonly later: (ms: number, act: () => void) => void
  readonly isAcknowledged: () => boolean
}

function leaveBy ({ fate, waitMs, acknowledgements }: Session, { finish, vanish, later, isAcknowledged }: Ways): void {
  if (fate === 'linger') later(LINGER_MS, () => { vanish(false) })
  else if (fate !== 'end') later(waitMs, () => { vanish(fate === 'reset') })
  else if (acknowledgements > 0 && !isAcknowledged()) later(CLOSE_TIMEOUT_MS, finish)
  else later(waitMs, finish)
}
