/**
 * Bounds connections before anything of MQTT is read.
 *
 * Beyond `connectionsMax`, or an address's share of them, a connection is closed at once. Within them none is closed
 * for a high rate: a fleet that reconnects after a restart would only come again. Beyond `connectsPerSecondMax` a
 * connection waits unread for its turn, and turns go round by address, so that a flood from one address delays another
 * by one turn at most.
 */
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { isLoopback, toAddressKey } from '../listen/address-key.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { FairQueue } from './fair-queue.ts'
import { createLogThrottle } from '../log-throttle.ts'
import type { Origin } from '../listen/origin.ts'

/** How often waiting connections get their turns. */
const TURN_MS = 10

interface Waiting { readonly stream: Duplex, readonly origin: Origin }

interface AdmissionOptions {
  readonly limits: Pick<BrokerLimits, 'connectionsMax' | 'connectionsPerAddressMax' | 'connectsPerSecondMax'>
  readonly hits: LimitHits
  /** Takes a connection whose turn has come. */
  readonly serve: (stream: Duplex, origin: Origin) => void
  readonly logger: Logger
}

export function createAdmission ({ limits, hits, serve, logger }: AdmissionOptions) {
  const { connectionsMax, connectionsPerAddressMax, connectsPerSecondMax } = limits
  const throttle = createLogThrottle({ intervalMs: 60_000 })
  const openByAddress = new Map<string, number>()
  /** By address. */
  const waiting = new FairQueue<Waiting>()
  // Starts with the turns of a second; more come as time passes.
  const state = { open: 0, isStopped: false, turns: connectsPerSecondMax, filledAtMs: performance.now() }
  let timer: NodeJS.Timeout | null = null

  function admit (stream: Duplex, origin: Origin): void {
    if (state.isStopped) {
      stream.destroy()
      return
    }
    const key = toAddressKey(origin.remoteAddress)
    const open = openByAddress.get(key) ?? 0
    if (state.open >= connectionsMax) return refuse(stream, origin, 'connections')
    if (open >= connectionsPerAddressMax && !isLoopback(origin.remoteAddress)) {
      return refuse(stream, origin, 'connections_per_address')
    }
    state.open++
    openByAddress.set(key, open + 1)
    stream.once('close', () => { leave(key) })
    fill()
    if (waiting.size === 0 && hasTurn()) {
      state.turns--
      return serve(stream, origin)
    }
    hits.hit('connects_per_second')
    // A peer that resets while it waits would otherwise end the process.
    stream.on('error', ignore)
    waiting.add(key, { stream, origin })
    timer ??= setInterval(serveWaiting, TURN_MS)
  }

  function refuse (stream: Duplex, { remoteAddress }: Origin, limit: 'connections' | 'connections_per_address'): void {
    hits.hit(limit)
    throttle((leftOut) => {
      const bounds = { connectionsMax, connectionsPerAddressMax }
      logger.warn({ limit, ...bounds, remoteAddress, leftOut }, 'connection refused: too many connections')
    })
    stream.on('error', ignore)
    stream.destroy()
  }

  function leave (key: string): void {
    state.open--
    const open = openByAddress.get(key) as number - 1
    if (open === 0) openByAddress.delete(key)
    else openByAddress.set(key, open)
  }

  function fill (): void {
    const nowMs = performance.now()
    const added = (nowMs - state.filledAtMs) * connectsPerSecondMax / 1000
    state.turns = Math.min(state.turns + added, Math.max(connectsPerSecondMax, 1))
    state.filledAtMs = nowMs
  }

  const hasTurn = () => connectsPerSecondMax === 0 || state.turns >= 1

  function serveWaiting (): void {
    fill()
    while (hasTurn()) {
      const next = waiting.next(({ stream }) => !stream.destroyed)
      if (next === undefined) break
      state.turns--
      next.stream.off('error', ignore)
      serve(next.stream, next.origin)
    }
    if (waiting.size > 0 || timer === null) return
    clearInterval(timer)
    timer = null
  }

  return {
    admit,
    /** Closes waiting connections, and those that come later. */
    stop (): void {
      state.isStopped = true
      if (timer !== null) clearInterval(timer)
      for (const { stream } of waiting.drain()) stream.destroy()
    },
    /** Open sockets, waiting ones included. */
    get open (): number { return state.open }
  }
}

function ignore (): void {}
