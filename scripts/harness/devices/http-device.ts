import { connect, type Socket } from 'node:net'
import { ResponseScanner } from '../response-scanner.ts'
import { type MadeUpReading, toPayload } from './made-up-reading.ts'
import { type DeviceOptions, noteAcknowledgement, noteFault, noteWrite } from './tally.ts'

const RETRY_MIN_MS = 100
const RETRY_MAX_MS = 400
/** Longer than the gateway holds a request. */
const ANSWER_TIMEOUT_MS = 20_000
/** Readings in one POST, and characters of them: the gateway takes 256 KiB. */
const POST_READINGS_MAX = 50
const POST_CHARACTERS_MAX = 200_000

/** Statuses of the gateway, and those that HAProxy answers for a gateway that is away or frozen. */
const RETRIED: ReadonlySet<number> = new Set([429, 502, 503, 504])

/** A legacy device: one POST at a time over a kept connection, repeated until it is answered with 202. */
export class HttpDevice {
  readonly #options: DeviceOptions
  #waiting: MadeUpReading[] = []
  #posting: { readonly readings: readonly MadeUpReading[], readonly bytes: Buffer, isWritten: boolean } | null = null
  #socket: Socket | null = null
  #timer: NodeJS.Timeout | null = null
  #isEnded = false

  constructor (options: DeviceOptions) {
    this.#options = options
  }

  get unacknowledged (): number { return this.#waiting.length + (this.#posting?.readings.length ?? 0) }

  get hasRoom (): boolean { return this.unacknowledged < this.#options.window }

  publish (readings: readonly MadeUpReading[]): void {
    this.#waiting.push(...readings)
    if (this.#posting === null) this.#post()
  }

  /** Connects when there is something to post. */
  connect (): void {}

  end (): void {
    this.#isEnded = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#socket?.destroy()
  }

  #post (): void {
    const { id, secret } = this.#options
    if (this.#posting === null) {
      if (this.#waiting.length === 0) return
      let characters = 0
      let count = 0
      for (const { fields } of this.#waiting) {
        characters += fields.length
        if (count > 0 && (count === POST_READINGS_MAX || characters > POST_CHARACTERS_MAX)) break
        count++
      }
      const readings = this.#waiting.splice(0, count)
      const body = toPayload(readings, id)
      const authorization = secret === null ? '' : `Authorization: Bearer ${secret}\r\n`
      const head = 'POST /vital-data HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n' +
        `${authorization}Content-Length: ${body.length}\r\n\r\n`
      this.#posting = { readings, bytes: Buffer.concat([Buffer.from(head), body]), isWritten: false }
    }
    const posting = this.#posting
    const socket = this.#socket ??= this.#open()
    noteWrite(this.#options, posting.readings, posting.isWritten)
    posting.isWritten = true
    socket.write(posting.bytes)
  }

  #open (): Socket {
    const scanner = new ResponseScanner()
    const socket = connect({ host: '127.0.0.1', port: this.#options.port, noDelay: true })
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => { socket.destroy() })
    socket.on('data', (chunk: Buffer) => scanner.scan(chunk, chunk.length, (status) => this.#take(status)))
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => {
      this.#socket = null
      if (this.#posting !== null) this.#retry()
    })
    return socket
  }

  #take (status: number): void {
    const posting = this.#posting
    if (posting === null) return
    if (status === 202) {
      noteAcknowledgement(this.#options, posting.readings)
      this.#posting = null
      this.#post()
      return
    }
    if (!RETRIED.has(status)) noteFault(this.#options, `POST was answered with ${status}`)
    this.#retry()
  }

  #retry (): void {
    if (this.#isEnded || this.#timer !== null) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#post()
    }, RETRY_MIN_MS + this.#options.random() * (RETRY_MAX_MS - RETRY_MIN_MS))
  }
}
