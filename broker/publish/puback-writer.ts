import type { Connection } from '../connections.ts'

/** Fixed header of PUBACK: type 4, two bytes to come (MQTT 3.1.1 §3.4). */
const PUBACK = 0x40
const PUBACK_BYTES = 4

/**
 * Writes PUBACKs, all that one turn brings for a connection at once: a batch settles hundreds of publishes of a few dozen
 * connections in one turn of the event loop.
 */
export class PubackWriter {
  /** Packet ids to acknowledge, in order. */
  #owed = new Map<Connection, number[]>()
  readonly #flush = () => { this.#writeAll() }

  add (connection: Connection, messageId: number): void {
    const ids = this.#owed.get(connection)
    if (ids !== undefined) {
      ids.push(messageId)
      return
    }
    if (this.#owed.size === 0) process.nextTick(this.#flush)
    this.#owed.set(connection, [messageId])
  }

  /** Writes what is owed to a connection now, because Aedes is about to write an acknowledgement behind it [MQTT-4.6.0-2]. */
  flush (connection: Connection): void {
    const ids = this.#owed.get(connection)
    if (ids === undefined) return
    // Emptied and not deleted, so that the next one is written in this turn, too.
    write(connection, ids.splice(0))
  }

  #writeAll (): void {
    const owed = this.#owed
    this.#owed = new Map()
    for (const [connection, ids] of owed) write(connection, ids)
  }
}

function write ({ socket, client }: Connection, ids: readonly number[]): void {
  if (ids.length === 0 || socket.destroyed || !socket.writable) return
  const packets = Buffer.allocUnsafe(ids.length * PUBACK_BYTES)
  let at = 0
  for (const id of ids) {
    packets[at++] = PUBACK
    packets[at++] = 2
    packets[at++] = id >> 8
    packets[at++] = id & 0xff
  }
  // A client that does not read its acknowledgements is closed after the drain timeout, as with any other packet.
  if (!socket.write(packets)) (client as unknown as DrainingClient).waitForDrain(() => {})
}

/** Aedes' client has this method; its types do not tell. */
interface DrainingClient {
  waitForDrain (callback: () => void): void
}
