import type { Connection } from '../connection.ts'
import type { Delivery, DeliveryOptions, Encoded, Link, Message } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import { encodePublish, encodePubrel } from '../wire/encode.ts'

/** A connection to a subscriber, as MQTT 3.1 and 3.1.1 write it. */
export class ConnectionLink implements Link {
  readonly window: number
  readonly #connection: Connection
  readonly #session: Session
  #isCorked = false
  #isWaiting = false

  constructor (connection: Connection, session: Session, window: number) {
    this.window = window
    this.#connection = connection
    this.#session = session
  }

  get hasRoom (): boolean {
    const { socket } = this.#connection
    if (socket.destroyed || !socket.writable) return false
    if (!socket.writableNeedDrain) return true
    this.#wait()
    return false
  }

  get unsentBytes (): number {
    const { socket } = this.#connection
    return socket.destroyed || !socket.writable ? Infinity : socket.writableLength
  }

  sendUnacknowledged ({ topic, payload }: Message, { isRetained }: DeliveryOptions, encoded: Encoded): void {
    const encode = () => encodePublish(topic, payload, { qos: 0, isRetained, isDuplicate: false, packetId: 0 })
    this.write(isRetained ? encode() : encoded.mqtt3 ??= encode())
  }

  send ({ message, qos, isRetained, packetId }: Delivery & { readonly message: Message }, isDuplicate: boolean): boolean {
    this.write(encodePublish(message.topic, message.payload, { qos, isRetained, isDuplicate, packetId }))
    return true
  }

  release (packetId: number): void {
    this.write(encodePubrel(packetId))
  }

  protected write (packet: Buffer): void {
    const { socket } = this.#connection
    if (socket.destroyed || !socket.writable) return
    if (!this.#isCorked) {
      // All packets of one turn leave in one write.
      this.#isCorked = true
      socket.cork()
      process.nextTick(uncork, this)
    }
    if (!socket.write(packet)) this.#wait()
  }

  /** For the next tick. */
  uncork (): void {
    this.#isCorked = false
    this.#connection.socket.uncork()
  }

  #wait (): void {
    if (this.#isWaiting) return
    this.#isWaiting = true
    this.#connection.client.whenDrained((error) => {
      this.#isWaiting = false
      if (!error) this.#session.resume()
    })
  }
}

function uncork (link: ConnectionLink): void {
  link.uncork()
}
