import type { Socket } from 'node:net'

const keyOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`

/** The sockets of one HTTP server, by kind: a stop treats each kind in its own way. */
export function createSocketSet (connectionsMax: number) {
  /** Sockets that speak HTTP, or are about to. */
  const speaking = new Set<Socket>()
  /** Sockets in a TLS handshake, by the peer's address and port, which the TLS socket above has too. */
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

    /** @param socket - the TLS socket above the one that was opened */
    secure (socket: Socket): void {
      shakingHands.delete(keyOf(socket))
      keep(speaking, socket)
    },

    /** The connection became a WebSocket: the limit on HTTP connections no longer counts it. */
    upgrade (socket: Socket): void {
      speaking.delete(socket)
      keep(upgraded, socket)
    },

    /** Destroys sockets that Node counts as busy although no answer is open; the broker closes WebSockets. */
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
