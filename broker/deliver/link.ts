import { whenDrained } from '../aedes-client.ts'
import type { Connection } from '../connection.ts'
import type { Delivery, Encoded, Link, Message } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import { encodePublish, encodePubrel } from '../wire/encode.ts'

/** A connection of MQTT 3.1 or 3.1.1 to a subscriber. */
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

  sendUnacknowledged ({ topic, payload }: Message, isRetained: boolean, encoded: Encoded): void {
    encoded.mqtt3 ??= encodePublish(topic, payload, { qos: 0, isRetained, isDuplicate: false, packetId: 0 })
    this.#write(encoded.mqtt3)
  }

  send ({ message, qos, isRetained, packetId }: Delivery & { readonly message: Message }, isDuplicate: boolean): void {
    this.#write(encodePublish(message.topic, message.payload, { qos, isRetained, isDuplicate, packetId }))
  }

  release (packetId: number): void {
    this.#write(encodePubrel(packetId))
  }

  #write (packet: Buffer): void {
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
    whenDrained(this.#connection.client, (error) => {
      this.#isWaiting = false
      if (!error) this.#session.resume()
    })
  }
}

function uncork (link: ConnectionLink): void {
  link.uncork()
}
