import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Aedes, type AedesOptions } from 'aedes'

interface TestLike { teardown: (fn: () => Promise<void>) => unknown }

/** One PUBLISH below `vital/`, as a plain broker received it, including resent ones. */
export interface Received {
  readonly topic: string
  readonly dup: boolean
  readonly body: Record<string, unknown>
}

/**
 * A plain Aedes on a free loopback port that keeps every PUBLISH below `vital/`.
 * @param acknowledge - whether to acknowledge this PUBLISH
 * @param acknowledgeAfterMs - the delay of each acknowledgement
 */
export async function startBroker (t: TestLike, { acknowledge = () => true, acknowledgeAfterMs = 0, ...options }: AedesOptions & {
  acknowledge?: (received: Received) => boolean
  acknowledgeAfterMs?: number
} = {}) {
  const received: Received[] = []
  const sockets = new Set<Socket>()
  const aedes = await Aedes.createBroker({
    ...options,
    authorizePublish (client, packet, callback) {
      const publish = { topic: packet.topic, dup: packet.dup, body: JSON.parse(packet.payload.toString()) as Record<string, unknown> }
      received.push(publish)
      if (!acknowledge(publish)) return
      if (acknowledgeAfterMs > 0) setTimeout(() => { callback(null) }, acknowledgeAfterMs)
      else callback(null)
    }
  })
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => { sockets.delete(socket) })
    aedes.handle(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await new Promise<void>((resolve) => { aedes.close(resolve) })
  })
  return {
    aedes,
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    /** Readings by topic, without resent ones. */
    readingsOf (topic: string): Array<Record<string, unknown>> {
      const distinct = new Set(received.filter((publish) => publish.topic === topic).map(({ body }) => JSON.stringify(body)))
      return [...distinct].map((text) => JSON.parse(text) as Record<string, unknown>)
    },
    dropConnections () {
      for (const socket of sockets) socket.destroy()
    }
  }
}
