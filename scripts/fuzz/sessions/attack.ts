import { SessionRandom, sessionSeed } from './session-random.ts'
import { play, type Played } from './connection.ts'
import { createHttpSession } from './http-session.ts'
import type { AttackFigures, AttackSettings, FromAttacker } from '../messages.ts'
import { createMqttSession, createPayloadSession } from './mqtt-session.ts'
import { createMqtt5Session } from './mqtt5-session.ts'
import type { Session, Target } from './session.ts'
import { createWsSession } from './ws-session.ts'

const PROGRESS_INTERVAL_MS = 200
const FAULTS_MAX = 20
/** Ports of one address run out: 28,000, each kept for a minute after use. */
const LOCAL_ADDRESSES = process.platform === 'linux' ? Array.from({ length: 16 }, (_, index) => `127.0.0.${index + 2}`) : [undefined]

const CREATE: Readonly<Record<Target, (random: SessionRandom, index: number) => Session>> = {
  mqtt: createMqttSession, mqtt5: createMqtt5Session, payload: createPayloadSession, http: createHttpSession, ws: createWsSession
}

/** Sessions of each kind, where several are played; those over HTTP hold fewer packets and cost more. */
const WEIGHTS: Readonly<Record<Target, number>> = { mqtt: 9, mqtt5: 6, payload: 3, http: 3, ws: 3 }

/** Makes session number `index`; the same for the same seed and targets. */
export function createSession ({ seed, targets }: Pick<AttackSettings, 'seed' | 'targets'>, index: number): Session {
  const random = new SessionRandom(sessionSeed(seed, index))
  const target = random.pick(targets.flatMap((one) => Array.from({ length: WEIGHTS[one] }, () => one)))
  return CREATE[target](random, index)
}

/**
 * Plays sessions, many at a time, and counts.
 * @param tell - to the harness
 */
export function createAttacker (settings: AttackSettings, tell: (message: FromAttacker) => void) {
  const figures = {
    packets: 0,
    bytes: 0,
    sessions: 0,
    pubacks: 0,
    closedByGateway: 0,
    packetsByTarget: { mqtt: 0, mqtt5: 0, payload: 0, http: 0, ws: 0 },
    statuses: {} as Record<string, number>,
    faults: [] as string[]
  }
  const open = new Set<number>()
  let next = 0
  const read = (): AttackFigures => ({ ...figures, oldestSession: open.size === 0 ? next : Math.min(...open) })

  function fault (message: string): void {
    if (figures.faults.length < FAULTS_MAX) figures.faults.push(message)
  }

  function note (session: Session, index: number, played: Played): void {
    figures.pubacks += played.acknowledged
    if (played.isClosedByGateway) figures.closedByGateway++
    if (played.isRefused) fault(`session ${index}: the connection was refused`)
    if (played.isLeftOpen) fault(`session ${index} (${session.target}): the gateway did not close`)
    if (played.acknowledged < session.acknowledgements && !played.isClosedByGateway) {
      fault(`session ${index} (${session.target}): ${played.acknowledged} of ${session.acknowledgements} publishes were acknowledged`)
    }
    for (const status of played.statuses) {
      figures.statuses[status] = (figures.statuses[status] ?? 0) + 1
      if (status.startsWith('5') && status !== '503') fault(`session ${index} (${session.target}): the gateway answered ${status}`)
    }
  }

  async function playOne (): Promise<boolean> {
    const index = next++
    open.add(index)
    const session = createSession(settings, index)
    const port = session.target === 'http' || session.target === 'ws' ? settings.httpPort : settings.mqttPort
    const played = await play(session, port, LOCAL_ADDRESSES[index % LOCAL_ADDRESSES.length])
    open.delete(index)
    figures.sessions++
    figures.packets += session.packets
    figures.packetsByTarget[session.target] += session.packets
    figures.bytes += session.pieces.reduce((sum, { length }) => sum + length, 0)
    note(session, index, played)
    return !played.isRefused
  }

  async function attack ({ from, packets, timeMs }: { from: number, packets: number, timeMs: number }): Promise<void> {
    next = from
    const until = figures.packets + packets
    const deadlineMs = performance.now() + timeMs
    let isBroken = false
    const lane = async () => {
      while (!isBroken && figures.packets < until && performance.now() < deadlineMs) isBroken = !await playOne() || isBroken
    }
    const timer = setInterval(() => tell({ type: 'progress', figures: read() }), PROGRESS_INTERVAL_MS)
    await Promise.all(Array.from({ length: settings.connections }, lane))
    clearInterval(timer)
    tell({ type: 'done', figures: read(), next })
  }

  return { attack }
}
