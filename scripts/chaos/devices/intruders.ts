/** Hostile raw sockets: silent, slow, announcing more than they send, or sending noise. */
import { connect, type Socket } from 'node:net'
import type { Random } from '../../harness/random.ts'
import { encodeConnect } from '../../harness/packet-encoder.ts'

const SLOW_BYTE_MS = 700
/** Remaining length 268,435,455, the largest of MQTT. */
const HUGE_LENGTH = Buffer.from([0xff, 0xff, 0xff, 0x7f])
const NOISE_BYTES_MAX = 2000

/** What each kind does once it is connected. */
const KINDS = {
  silent: () => {},
  slow: (socket: Socket) => {
    const bytes = encodeConnect('intruder-that-takes-its-time', 60)
    let at = 0
    const timer = setInterval(() => { socket.write(bytes.subarray(at, ++at)) }, SLOW_BYTE_MS)
    socket.once('close', () => { clearInterval(timer) })
  },
  hugeConnect: (socket: Socket) => { socket.write(Buffer.concat([Buffer.from([0x10]), HUGE_LENGTH, Buffer.from([0, 4, 0x4d, 0x51])])) },
  hugePublish: (socket: Socket, random: Random) => {
    socket.write(encodeConnect(`intruder-${Math.floor(random.between(0, 1e9))}`, 60))
    socket.write(Buffer.concat([Buffer.from([0x32]), HUGE_LENGTH, Buffer.from([0, 8]), Buffer.from('vital/xx')]))
  },
  noise: (socket: Socket, random: Random) => {
    socket.write(Buffer.from(Array.from({ length: Math.ceil(random.between(0, NOISE_BYTES_MAX)) },
      () => Math.floor(random.between(0, 256)))))
  }
} as const
type Kind = keyof typeof KINDS

/** Figures of one kind. */
export interface IntruderFigures {
  opened: number
  /** By the gateway. */
  closed: number
  slowestCloseMs: number
}

/**
 * Keeps `count` connections open, of all kinds in turn; one that is closed is followed by a new one.
 * @returns figures by kind; `stop` opens no more, `open` counts those that are still there
 */
export function startIntruders ({ port, count, random }: { port: () => number, count: number, random: Random }) {
  const kinds = Object.keys(KINDS) as Kind[]
  const figures = Object.fromEntries(kinds.map((kind): [Kind, IntruderFigures] => [kind, { opened: 0, closed: 0, slowestCloseMs: 0 }])) as
    Record<Kind, IntruderFigures>
  const sockets = new Set<Socket>()
  const timers = new Set<NodeJS.Timeout>()
  let isOver = false

  function open (kind: Kind): void {
    const socket = connect({ host: '127.0.0.1', port: port() })
    let openedAtMs: number | null = null
    sockets.add(socket)
    socket.on('connect', () => {
      openedAtMs = performance.now()
      figures[kind].opened++
      KINDS[kind](socket, random)
    })
    socket.on('data', () => { /* Read and dropped, or the end of the stream would never be seen. */ })
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => {
      sockets.delete(socket)
      if (openedAtMs !== null) {
        figures[kind].closed++
        figures[kind].slowestCloseMs = Math.max(figures[kind].slowestCloseMs, Math.round(performance.now() - openedAtMs))
      }
      if (!isOver) again(kind)
    })
  }

  function again (kind: Kind): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      open(kind)
    }, random.between(100, 1000))
    timers.add(timer)
  }

  for (let index = 0; index < count; index++) open(kinds[index % kinds.length]!)
  return {
    figures,
    open: () => sockets.size,
    stop (): void {
      isOver = true
      for (const timer of timers) clearTimeout(timer)
    },
    end (): void {
      this.stop()
      for (const socket of sockets) socket.destroy()
    }
  }
}
