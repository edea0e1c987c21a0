import type { Duplex } from 'node:stream'
import type { ConnectPacket } from 'aedes'
import mqttPacket, { type IConnectPacket } from 'mqtt-packet'
import { LENGTH_BYTES_MAX } from '../publish/packet-scanner.ts'
import { Login } from './login.ts'
import type { Origin } from '../listen/origin.ts'
import { checkPacket } from '../wire.ts'

/** First byte of every CONNECT (MQTT 3.1.1 §3.1.1). */
const CONNECT = 0x10

interface ReceptionOptions {
  readonly connectPacketBytesMax: number
  /** @returns the return code that refuses it; `null`: it may go on; `unavailable`: it is closed without an answer */
  readonly receive: (login: Login, packet: ConnectPacket) => Promise<number | null | 'unavailable'>
  /** Speaks MQTT with it. @param login - what is known of it already */
  readonly serve: (stream: Duplex, origin: Origin, login: Login | null) => void
  /** A CONNECT of so many bytes was refused, which nobody else has seen. */
  readonly onRefused: (bytes: number) => void
}

/**
 * Where a CONNECT is looked at before anything is made for it. A refusal is held back for seconds while somebody guesses, and a password
 * waits for its turn; Aedes' client with its parser and listeners, thirteen kilobytes that V8 would copy and move meanwhile, is made for those who
 * get in. What is no whole CONNECT of MQTT 3.1 or 3.1.1 with a client id at once, goes to Aedes as it is, and is asked there.
 */
export class Reception {
  readonly #options: ReceptionOptions
  readonly #waiting = new Set<Duplex>()

  constructor (options: ReceptionOptions) {
    this.#options = options
  }

  /** Takes a connection whose first bytes can be read. */
  readonly accept = (stream: Duplex, origin: Origin): void => {
    const { connectPacketBytesMax, receive, serve } = this.#options
    const chunk = stream.read() as Buffer
    const bytes = connectLengthOf(chunk)
    const packet = bytes === 0 || bytes > connectPacketBytesMax ? null : toConnect(chunk.subarray(0, bytes))
    if (packet === null) {
      stream.unshift(chunk)
      serve(stream, origin, null)
      return
    }
    const { clientId, username, password } = packet
    const login = new Login({ clientId, username, password: password as Buffer | undefined, origin, heldBytes: () => chunk.length + stream.readableLength })
    // A stream from which everything was taken tells of its end, and takes nothing back afterwards: what came behind a CONNECT stays in it.
    const isAlone = chunk.length === bytes
    if (!isAlone) stream.unshift(chunk)
    const onReadable = () => {
      if (isAlone && stream.readableLength === 0) stream.destroy()
    }
    const onClose = () => { login.end() }
    this.#waiting.add(stream)
    stream.on('error', ignore).on('close', onClose).on('readable', onReadable)
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    receive(login, packet as unknown as ConnectPacket).then((returnCode) => {
      this.#waiting.delete(stream)
      stream.off('close', onClose).off('readable', onReadable)
      if (stream.destroyed || stream.readableEnded) stream.destroy()
      else if (returnCode === 'unavailable') this.#close(stream, bytes)
      else if (returnCode !== null) this.#refuse(stream, returnCode, bytes)
      else {
        if (isAlone) stream.unshift(chunk)
        serve(stream, origin, login)
        stream.off('error', ignore)
      }
    })
  }

  /** Closes those who wait. */
  stop (): void {
    for (const stream of this.#waiting) stream.destroy()
  }

  #close (stream: Duplex, bytes: number): void {
    this.#options.onRefused(bytes)
    stream.destroy()
  }

  #refuse (stream: Duplex, returnCode: number, bytes: number): void {
    this.#options.onRefused(bytes)
    stream.once('finish', () => { stream.destroy() })
    stream.end(Buffer.from([0x20, 2, 0, returnCode])) // MQTT 3.1.1 §3.2
  }
}

/** @returns the bytes of the CONNECT at the front of `chunk`; 0 when there is none, or no whole one */
function connectLengthOf (chunk: Buffer): number {
  if (chunk[0] !== CONNECT) return 0
  let length = 0
  for (let at = 1; at <= LENGTH_BYTES_MAX && at < chunk.length; at++) {
    const byte = chunk[at] as number
    length += (byte & 0x7f) << 7 * (at - 1)
    if (byte < 0x80) return at + 1 + length <= chunk.length ? at + 1 + length : 0
  }
  return 0
}

/** `null` for what the read gate or Aedes has its own answer to. */
function toConnect (bytes: Buffer): IConnectPacket | null {
  const bodyAt = bytes.findIndex((byte, index) => index > 0 && byte < 0x80) + 1
  if (checkPacket(bytes, bodyAt) !== null) return null
  let packet: IConnectPacket | null = null
  const parser = mqttPacket.parser()
  parser.on('packet', (parsed) => { if (parsed.cmd === 'connect') packet = parsed })
  parser.on('error', ignore)
  parser.parse(bytes)
  return packet !== null && isServed(packet) ? packet : null
}

function isServed ({ clientId, protocolVersion, bridgeMode }: IConnectPacket & { readonly bridgeMode?: boolean }): boolean {
  return clientId !== '' && (protocolVersion === 3 || protocolVersion === 4) && bridgeMode !== true
}

function ignore (): void {}
