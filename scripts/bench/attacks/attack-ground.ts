import { connect, type Socket } from 'node:net'

/** Between two rounds of actions that are due. */
const STEP_MS = 2
const REOPEN_MS = 50

/** The target of an attack, and what the attacker knows. */
export interface AttackSettings {
  readonly name: string
  readonly mqttPort: number
  readonly httpPort: number
  /** Of the device principals `mallory-0` and up. */
  readonly secrets: readonly string[]
  /** A device that behaves well, while it is connected. */
  readonly victim: string
}

/** The result of an attack. */
export interface AttackReport {
  /** Connections opened, packets or requests sent: whatever the attack repeats. */
  readonly attempts: number
  readonly closed: number
  /** Cores that the attacker used. */
  readonly cpuCores: number
}

/** The steps that attacks are made of. No answer of the gateway ends an attack. */
export class AttackGround {
  readonly settings: AttackSettings
  attempts = 0
  closed = 0

  constructor (settings: AttackSettings) {
    this.settings = settings
  }

  /** A connection that is counted when it ends. */
  open (port: number, onOpen: (socket: Socket) => void): Socket {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    socket.on('connect', () => onOpen(socket))
    socket.resume()
    // A reset is an answer like any other; 'close' follows.
    socket.on('error', () => {})
    socket.on('end', () => socket.destroy())
    socket.on('close', () => { this.closed++ })
    return socket
  }

  /** Acts `perS` times a second, evenly: an attacker that lost its core for a while does not catch up at once. */
  every (perS: number, act: () => void): void {
    const startMs = performance.now()
    const atOnceMax = 2 * perS * STEP_MS / 1000
    let done = 0
    setInterval(() => {
      const due = (performance.now() - startMs) / 1000 * perS
      for (done = Math.max(done, due - atOnceMax); done < due; done++) {
        this.attempts++
        act()
      }
    }, STEP_MS)
  }

  /** A constant number of connections: one that ends is followed by another. */
  keep (count: number, make: () => Socket): void {
    const next = () => {
      this.attempts++
      make().on('close', () => setTimeout(next, REOPEN_MS))
    }
    for (let index = 0; index < count; index++) next()
  }

  /** Opens `perS` connections a second. Each sends `bytes` and is dropped after a second at the latest. */
  strike (perS: number, port: number, bytes: () => Buffer): void {
    this.every(perS, () => {
      const socket = this.open(port, () => socket.write(bytes()))
      const timer = setTimeout(() => socket.destroy(), 1000)
      socket.on('close', () => clearTimeout(timer))
    })
  }
}
