/**
 * Verifies a CONNECT before Aedes has a client for it.
 *
 * A refusal is held back for seconds while an attacker guesses, and a password waits for its turn. Aedes' client with
 * its parser and listeners is 13 KB that V8 would copy and move meanwhile, so it is made for connections that are let
 * in. A CONNECT that does not come whole in the first chunk, or is not one of MQTT 3.1 or 3.1.1 with a client id, goes
 * to Aedes as it is and is verified there, by the same code. From the first byte on its time-out is Aedes'
 * `connectTimeout`, `connectTimeoutMs` in ../limits.ts.
 */
import type { Duplex } from 'node:stream'
import type { ConnectPacket } from 'aedes'
import mqttPacket, { type IConnectPacket } from 'mqtt-packet'
import type { Origin } from '../listen/origin.ts'
import { encodeConnack, type ReturnCode } from '../wire/encode.ts'
import { CONNECT, decodeLength, lengthBytes, lengthValue, typeOf } from '../wire/fixed-header.ts'
import { checkPacket } from '../wire/rules.ts'
import { Login } from './login.ts'

interface FirstPacketOptions {
  readonly connectPacketBytesMax: number
  /** @returns the return code that refuses it; `null`: it may go on; `unavailable`: it is closed without an answer */
  readonly verify: (login: Login, packet: ConnectPacket) => Promise<ReturnCode | null | 'unavailable'>
  /** Speaks MQTT with a connection. @param login - verified; `null` where the CONNECT was not checked */
  readonly serve: (stream: Duplex, origin: Origin, login: Login | null) => void
  /** A CONNECT of this many bytes was refused, and Aedes does not see it. */
  readonly onRefused: (bytes: number) => void
}

/** See the top of this file. */
export class FirstPacketCheck {
  readonly #options: FirstPacketOptions
  readonly #underWay = new Set<Duplex>()

  constructor (options: FirstPacketOptions) {
    this.#options = options
  }

  /** Takes a connection whose first bytes can be read. */
  readonly receive = (stream: Duplex, origin: Origin): void => {
    const { connectPacketBytesMax, verify, serve } = this.#options
    const chunk = stream.read() as Buffer
    const connect = toConnect(chunk, connectPacketBytesMax)
    if (connect === null) {
      stream.unshift(chunk)
      serve(stream, origin, null)
      return
    }
    const { packet, bytes } = connect
    const { clientId, username, password } = packet
    const heldBytes = () => chunk.length + stream.readableLength
    const login = new Login({ clientId, username, password: password as Buffer | undefined, origin, heldBytes })
    // A stream whose buffer is empty emits its end, and takes nothing back afterwards. So bytes behind a CONNECT are
    // put back at once.
    const isAlone = chunk.length === bytes
    if (!isAlone) stream.unshift(chunk)
    const onReadable = () => {
      if (isAlone && stream.readableLength === 0) stream.destroy()
    }
    const onClose = () => { login.end() }
    this.#underWay.add(stream)
    stream.on('error', ignore).on('close', onClose).on('readable', onReadable)
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    verify(login, packet as unknown as ConnectPacket).then((returnCode) => {
      this.#underWay.delete(stream)
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

  /** Closes all connections that are being verified. */
  stop (): void {
    for (const stream of this.#underWay) stream.destroy()
  }

  #close (stream: Duplex, bytes: number): void {
    this.#options.onRefused(bytes)
    stream.destroy()
  }

  #refuse (stream: Duplex, returnCode: ReturnCode, bytes: number): void {
    this.#options.onRefused(bytes)
    stream.once('finish', () => { stream.destroy() })
    stream.end(encodeConnack(returnCode))
  }
}

/** @returns the CONNECT at the front of `chunk`; `null` where the read gate or Aedes has its own answer to it */
function toConnect (
  chunk: Buffer, bytesMax: number
): { readonly packet: IConnectPacket, readonly bytes: number } | null {
  if (typeOf(chunk[0]!) !== CONNECT) return null
  const length = decodeLength(chunk, 1, chunk.length)
  const bodyAt = 1 + lengthBytes(length)
  const bytes = bodyAt + lengthValue(length)
  if (length < 0 || bytes > chunk.length || bytes > bytesMax) return null
  const connect = chunk.subarray(0, bytes)
  if (checkPacket(connect, bodyAt) !== null) return null
  let packet: IConnectPacket | null = null
  const parser = mqttPacket.parser()
  parser.on('packet', (parsed) => { if (parsed.cmd === 'connect') packet = parsed })
  parser.on('error', ignore)
  parser.parse(connect)
  return packet !== null && isServed(packet) ? { packet, bytes } : null
}

function isServed (packet: IConnectPacket & { readonly bridgeMode?: boolean }): boolean {
  const { clientId, protocolVersion, bridgeMode } = packet
  return clientId !== '' && (protocolVersion === 3 || protocolVersion === 4) && bridgeMode !== true
}

function ignore (): void {}
