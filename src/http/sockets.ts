import type { Socket } from 'node:net'

const keyOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`

/** The sockets of one HTTP server, by what they are for: a stop treats each kind in its own way. */
export function createSocketSet (connectionsMax: number) {
  /** Sockets that speak HTTP, or are about to. */
  const speaking = new Set<Socket>()
  /** TLS is not agreed on yet, by what both sockets of such a connection know of themselves. */
  const shakingHands = new Map<string, Socket>()
  const upgraded = new Set<Socket>()
  const keep = (set: Set<Socket>, socket: Socket) => {
    set.add(socket)
    socket.once('close', () => { set.delete(socket) })
  }

  return {
    /** Accepted; destroyed at once when there are too many. */
    open (socket: Socket, isSecure: boolean): void {
      if (speaking.size + shakingHands.size >= connectionsMax) {
        socket.destroy()
        return
      }
      if (!isSecure) {
        keep(speaking, socket)
        return
      }
      const key = keyOf(socket)
      shakingHands.set(key, socket)
      socket.once('close', () => { if (shakingHands.get(key) === socket) shakingHands.delete(key) })
    },

    /** @param socket - the one above the one that was opened */
    secure (socket: Socket): void {
      shakingHands.delete(keyOf(socket))
      keep(speaking, socket)
    },

    /** The connection became a WebSocket: the limit on HTTP connections no longer counts it. */
    upgrade (socket: Socket): void {
      speaking.delete(socket)
      keep(upgraded, socket)
    },

    /** Destroys those without an owed answer that Node counts as busy; WebSockets are the broker's to close. */
    sweep (): void {
      for (const socket of shakingHands.values()) socket.destroy()
      for (const socket of speaking) {
        if (socket.bytesRead === 0 || socket.writableFinished) socket.destroy()
      }
    },

    destroy (): void {
      for (const socket of [...speaking, ...shakingHands.values(), ...upgraded]) socket.destroy()
    }
  }
}
