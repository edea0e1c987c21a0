import { setMaxListeners } from 'node:events'
import { connect } from 'mqtt'
import type { Reading } from '../../../schemas/reading.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { DeviceClient, toFaultText } from './device-client.ts'
import type { Logins } from './logins.ts'
import type { Tally } from './tally.ts'

/** A gateway that does not answer at all is reported after this long. */
const PROBE_TIMEOUT_MS = 10_000

/** After a request to stop, acknowledgements of what was sent are awaited for this long. */
const STOP_GRACE_MS = 5000

/** A rejection follows its PUBACK; a device that left at once would not hear of its last one. */
const REJECTION_LINGER_MS = 200

/** Devices that lost one gateway together come back spread over this long, as a fleet in the field would. */
const RECONNECT_MIN_MS = 1000
const RECONNECT_SPREAD_MS = 1000

/** A reading and when it is to be published, in milliseconds after its device starts. */
export interface TimedReading {
  readonly dueMs: number
  readonly reading: Reading
}

/** One device of a fleet. `readings` is pulled one by one, when the next may be sent, so it may be endless. */
export interface FleetDevice {
  readonly device: string
  /** When it connects and starts, in milliseconds after the fleet. */
  readonly startMs: number
  readonly readings: Iterable<TimedReading>
}

/** How a run ended: all sent, on request, or because acknowledgements stopped coming. */
export type Ending = 'complete' | 'stopped' | 'stalled'

export interface FleetOptions {
  readonly url: string
  /** 4: MQTT 3.1.1. */
  readonly protocolVersion: 4 | 5
  /** Prefix of the client ids of devices without credentials. */
  readonly runId: string
  readonly devices: readonly FleetDevice[]
  readonly logins: Logins
  /** Per device. */
  readonly inFlightMax: number
  /** The run gives up when something waits for an acknowledgement and none has come for this long. */
  readonly patienceMs: number
  readonly tally: Tally
  /** Aborted when a person asks to stop. */
  readonly stop: AbortSignal
}

/** Return codes of CONNACK: bad user name or password, not authorised. */
const REFUSED: readonly unknown[] = [4, 5, 0x86, 0x87]

/**
 * Connects once and disconnects, so that a wrong address is reported at once and not retried by each device.
 * @throws `OPERATOR_FAILED`, with what to do
 */
export async function reachGateway (options: Pick<FleetOptions, 'url' | 'protocolVersion' | 'runId' | 'logins'> & {
  /** The device whose credential is presented. */
  readonly device: string
}): Promise<void> {
  const { url, protocolVersion, runId, logins, device } = options
  const login = logins.of(device)
  const client = connect(url, {
    clientId: login === null ? `${runId}-probe` : device,
    protocolVersion,
    ...login,
    ...logins.ca === null ? {} : { ca: logins.ca },
    reconnectPeriod: 0,
    connectTimeout: PROBE_TIMEOUT_MS
  })
  try {
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => { resolve() })
      client.once('error', reject)
      client.once('close', () => { reject(new Error('the connection was closed before CONNACK')) })
    })
  } catch (cause) {
    client.on('error', () => {})
    const text = cause instanceof Error ? toFaultText(cause) : String(cause)
    const isRefused = REFUSED.includes((cause as { code?: unknown }).code)
    const advice = isRefused
      ? login === null
        ? 'The gateway wants a credential of each device: give --credentials. vital-gateway credentials import FILE makes them.'
        : `The gateway refuses ${device}: its secret was rotated or revoked, or belongs to another gateway.`
      : 'Is the gateway running? Start it with vital-gateway, or name another with --url.'
    throw new OperatorError('OPERATOR_FAILED', `cannot connect to ${withoutPassword(url)}: ${text}\n${advice}`, { cause })
  } finally {
    await client.endAsync(!client.connected)
  }
}

/** Runs every device to its end, concurrently; each device's readings go out in order. Settles when all have disconnected. */
export async function runFleet (options: FleetOptions): Promise<Ending> {
  const { devices, patienceMs, tally, stop } = options
  const stalled = new AbortController()
  const giveUp = new AbortController()
  const quit = AbortSignal.any([stop, stalled.signal])
  setMaxListeners(0, quit, giveUp.signal)

  let graceTimer: NodeJS.Timeout | undefined
  stop.addEventListener('abort', () => {
    graceTimer = setTimeout(() => { giveUp.abort() }, Math.min(STOP_GRACE_MS, patienceMs))
  }, { once: true })

  let progressAtMs = performance.now()
  let acknowledged = -1
  const watch = setInterval(() => {
    const idle = tally.unacknowledged === 0 && tally.blocked === 0
    if (idle || tally.acknowledged !== acknowledged) {
      acknowledged = tally.acknowledged
      progressAtMs = performance.now()
    } else if (performance.now() - progressAtMs > patienceMs) {
      stalled.abort()
      giveUp.abort()
    }
  }, Math.min(250, patienceMs / 4))

  try {
    const startedAtMs = performance.now()
    await Promise.all(devices.map(async (device) => { await runDevice(device, startedAtMs, options, quit, giveUp.signal) }))
  } finally {
    clearInterval(watch)
    clearTimeout(graceTimer)
  }
  if (stalled.signal.aborted) return 'stalled'
  return stop.aborted && tally.unsent > 0 ? 'stopped' : 'complete'
}

async function runDevice (
  { device, startMs, readings }: FleetDevice, fleetStartedAtMs: number, options: FleetOptions, quit: AbortSignal, giveUp: AbortSignal
): Promise<void> {
  const { url, protocolVersion, runId, logins, inFlightMax, tally } = options
  await sleepUntil(fleetStartedAtMs + startMs, quit)
  if (quit.aborted) return
  const reconnectMs = RECONNECT_MIN_MS + Math.random() * RECONNECT_SPREAD_MS
  const login = logins.of(device)
  // A device with a credential must use its own id. Without one a run has ids of its own, or two runs would take over each other's
  // sessions.
  const clientId = login === null ? `${runId}-${device}` : device
  const client = new DeviceClient({ url, protocolVersion, clientId, device, login, ca: logins.ca, inFlightMax, reconnectMs, tally })
  const stopClient = () => { client.stop() }
  quit.addEventListener('abort', stopClient)
  for (const { dueMs, reading } of readings) {
    await sleepUntil(fleetStartedAtMs + startMs + dueMs, quit)
    if (!await client.room() || quit.aborted) break
    client.publish(reading)
  }
  await client.drained(giveUp)
  quit.removeEventListener('abort', stopClient)
  await sleepUntil(performance.now() + REJECTION_LINGER_MS, giveUp)
  await client.end()
}

/** Settles at `atMs` of the monotonic clock or when `signal` is aborted, at once if either has passed. */
async function sleepUntil (atMs: number, signal: AbortSignal): Promise<void> {
  const waitMs = atMs - performance.now()
  if (waitMs <= 0 || signal.aborted) return
  await new Promise<void>((resolve) => {
    const wake = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', wake)
      resolve()
    }
    const timer = setTimeout(wake, waitMs)
    signal.addEventListener('abort', wake)
  })
}

/** An address as it may be shown: no user name, no password. */
export function withoutPassword (url: string): string {
  const { protocol, host } = new URL(url)
  return `${protocol}//${host}`
}
