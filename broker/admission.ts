/**
 * Who gets in, before anything of MQTT is read.
 *
 * Beyond `connectionsMax`, or an address's share of them, a connection is closed at once. Within them nobody is turned
 * away for coming fast: a fleet that reconnects after a restart would only come again. Beyond `connectsPerSecondMax`
 * a connection waits unread for its turn, and turns go round by address, so that a flood from one place delays nobody
 * else by more than one turn.
 */
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { isLoopback, toAddressKey } from './address-key.ts'
import type { LimitHits } from './limit-hits.ts'
import type { BrokerLimits } from './limits.ts'
import { createOccasional } from './occasional.ts'
import type { Origin } from './origin.ts'

/** How often those that wait are looked at. */
const TURN_MS = 10

interface Waiting { readonly stream: Duplex, readonly origin: Origin }

interface AdmissionOptions {
  readonly limits: Pick<BrokerLimits, 'connectionsMax' | 'connectionsPerAddressMax' | 'connectsPerSecondMax'>
  readonly hits: LimitHits
  /** Speaks MQTT with it. */
  readonly serve: (stream: Duplex, origin: Origin) => void
  readonly logger: Logger
}

export function createAdmission ({ limits, hits, serve, logger }: AdmissionOptions) {
  const { connectionsMax, connectionsPerAddressMax, connectsPerSecondMax } = limits
  const occasionally = createOccasional({ intervalMs: 60_000 })
  const openByAddress = new Map<string, number>()
  /** By address, the one whose turn is next first. */
  const waiting = new Map<string, Waiting[]>()
  // A second's worth at once; from then on as time passes.
  const state = { open: 0, refused: 0, isStopped: false, turns: connectsPerSecondMax, filledAtMs: performance.now() }
  let timer: NodeJS.Timeout | null = null

  function admit (stream: Duplex, origin: Origin): void {
    if (state.isStopped) {
      stream.destroy()
      return
    }
    const key = toAddressKey(origin.remoteAddress)
    const open = openByAddress.get(key) ?? 0
    if (state.open >= connectionsMax) return refuse(stream, origin, 'connections')
    if (open >= connectionsPerAddressMax && !isLoopback(origin.remoteAddress)) return refuse(stream, origin, 'connections_per_address')
    state.open++
    openByAddress.set(key, open + 1)
    stream.once('close', () => { leave(key) })
    fill()
    if (waiting.size === 0 && takeTurn()) return serve(stream, origin)
    hits.hit('connects_per_second')
    // A peer that resets while it waits would otherwise end the process.
    stream.on('error', ignore)
    const line = waiting.get(key)
    if (line === undefined) waiting.set(key, [{ stream, origin }])
    else line.push({ stream, origin })
    timer ??= setInterval(serveWaiting, TURN_MS)
  }

  function refuse (stream: Duplex, { remoteAddress }: Origin, limit: 'connections' | 'connections_per_address'): void {
    state.refused++
    hits.hit(limit)
    occasionally((leftOut) => {
      logger.warn({ limit, connectionsMax, connectionsPerAddressMax, remoteAddress, leftOut }, 'connection refused: too many connections')
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
    state.turns = Math.min(state.turns + (nowMs - state.filledAtMs) * connectsPerSecondMax / 1000, Math.max(connectsPerSecondMax, 1))
    state.filledAtMs = nowMs
  }

  function takeTurn (): boolean {
    if (connectsPerSecondMax === 0) return true
    if (state.turns < 1) return false
    state.turns--
    return true
  }

  function serveWaiting (): void {
    fill()
    for (const [key, line] of waiting) {
      const at = line.findIndex(({ stream }) => !stream.destroyed)
      if (at !== -1 && !takeTurn()) break
      waiting.delete(key)
      if (at === -1) continue
      const { stream, origin } = line[at] as Waiting
      line.splice(0, at + 1)
      // To the end of the round, which this loop reaches again as long as there are turns.
      if (line.length > 0) waiting.set(key, line)
      stream.off('error', ignore)
      serve(stream, origin)
    }
    if (waiting.size > 0 || timer === null) return
    clearInterval(timer)
    timer = null
  }

  return {
    admit,
    /** Closes those that wait, and all that come. */
    stop (): void {
      state.isStopped = true
      if (timer !== null) clearInterval(timer)
      for (const line of waiting.values()) for (const { stream } of line) stream.destroy()
      waiting.clear()
    },
    /** Sockets open, waiting ones included. */
    get open (): number { return state.open },
    get refused (): number { return state.refused }
  }
}

function ignore (): void {}
