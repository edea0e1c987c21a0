import type { Connection } from '../connection.ts'
import { encodePubacks } from '../wire/encode.ts'

/**
 * Writes PUBACKs of the fast path and of MQTT 5, all that one turn of the event loop brings for a connection at once: a
 * batch settles hundreds of publishes of a few dozen connections in one turn. Aedes writes the other PUBACKs of MQTT 3, and
 * ../mqtt5/publish-handler.ts those with a reason.
 */
export class PubackWriter {
  /** Packet ids to acknowledge, in order. */
  #due = new Map<Connection, number[]>()
  readonly #writeDue = () => { this.#writeAll() }

  add (connection: Connection, packetId: number): void {
    const packetIds = this.#due.get(connection)
    if (packetIds !== undefined) {
      packetIds.push(packetId)
      return
    }
    if (this.#due.size === 0) process.nextTick(this.#writeDue)
    this.#due.set(connection, [packetId])
  }

  /**
   * Writes the PUBACKs of a connection now, because Aedes is about to write an acknowledgement behind them
   * [MQTT-4.6.0-2].
   */
  flush (connection: Connection): void {
    const packetIds = this.#due.get(connection)
    // Emptied and not deleted, so that the next one is written in this turn, too.
    if (packetIds !== undefined) write(connection, packetIds.splice(0))
  }

  #writeAll (): void {
    const due = this.#due
    this.#due = new Map()
    for (const [connection, packetIds] of due) write(connection, packetIds)
  }
}

function write ({ socket, client }: Connection, packetIds: readonly number[]): void {
  if (packetIds.length === 0 || socket.destroyed || !socket.writable) return
  // A client that does not read its acknowledgements is closed after the drain timeout, as with any other packet.
  if (!socket.write(encodePubacks(packetIds))) client.whenDrained(ignore)
}

function ignore (): void {}
