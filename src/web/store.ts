import { useEffect, useState } from 'preact/hooks'
import { ApiError, ask, askJson, gatewayNowMs, keepSecret, poll, readSecret, setGatewayNow } from './connection/api.ts'
import { readChanges, type RejectionChange } from './connection/changes.ts'
import { createLive } from './connection/live.ts'
import { createFleet, type Limits, type Refusal } from './fleet/fleet-store.ts'
import { createGatewayState, type Status } from './gateway/gateway-state.ts'

interface PageConfig {
  readonly version: string
  readonly principal: { readonly id: string, readonly role: string } | null
  readonly limits: Limits
  readonly mqtt: { readonly port: number, readonly securePort: number | null } | null
  readonly mayPlay: boolean
}

const STATUS_INTERVAL_MS = 2000
const HIDDEN_CONNECTED_MS = 30_000
const REFUSALS_KEPT = 200

/** State of the whole page: the devices, the gateway, and whether both are current. */
export const fleet = createFleet()
export const gateway = createGatewayState()
export const state = {
  phase: 'starting' as 'starting' | 'login' | 'open',
  loginError: null as string | null,
  config: null as PageConfig | null,
  isLive: false,
  /** Why live readings do not come, in words; `null` while no fault is known. */
  cut: null as string | null,
  isListed: false,
  /** Grows with each connection, so that a chart fills its hole. */
  connections: 0,
  /** The newest first. */
  refusals: [] as Refusal[]
}

const listeners = new Set<() => void>()
let isDue = false

/** All changes are drawn once, in the next frame. */
function changed (): void {
  if (isDue) return
  isDue = true
  requestAnimationFrame(() => {
    isDue = false
    for (const listener of listeners) listener()
  })
}

/** Draws the component again when something changed, at most each `intervalMs`. */
export function useChanges (intervalMs = 0): void {
  const [, draw] = useState(0)
  useEffect(() => {
    let drawnAtMs = 0
    const listener = () => {
      const nowMs = performance.now()
      if (nowMs - drawnAtMs < intervalMs) return
      drawnAtMs = nowMs
      draw((count) => count + 1)
    }
    listeners.add(listener)
    return () => { listeners.delete(listener) }
  }, [intervalMs])
}

type Reading = Record<string, unknown>
const followers = new Map<string, Set<(reading: Reading) => void>>()

/** Calls `follower` with each reading of a device as it is stored, until the returned function is called. */
export function followDevice (id: string, follower: (reading: Reading) => void): () => void {
  const own = followers.get(id) ?? new Set()
  followers.set(id, own.add(follower))
  return () => {
    own.delete(follower)
    if (own.size === 0) followers.delete(id)
  }
}

const decoder = new TextDecoder()

function takeMessage (topic: string, payload: Uint8Array): void {
  const [, id = ''] = topic.split('/')
  const text = decoder.decode(payload)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return
  }
  const receivedAtS = gatewayNowMs() / 1000
  for (const reading of Array.isArray(value) ? value : [value]) {
    if (typeof reading !== 'object' || reading === null) continue
    fleet.read(id, reading as Reading, text, receivedAtS)
    for (const follow of followers.get(id) ?? []) follow(reading as Reading)
  }
  changed()
}

function toRefusal ({ device, reason, errors, receivedAt }: RejectionChange): Refusal {
  return { device, atS: receivedAt, reason, message: errors.map(({ path, message }) => `${path} ${message}`.trim()).join('; ') }
}

function takeRejection (rejection: RejectionChange): void {
  const refusal = toRefusal(rejection)
  fleet.refuse(refusal, gatewayNowMs() / 1000)
  state.refusals = [refusal, ...state.refusals].slice(0, REFUSALS_KEPT)
}

const live = createLive({
  onMessage: takeMessage,
  onConnect () {
    Object.assign(state, { isLive: true, cut: null, connections: state.connections + 1 })
    changed()
  },
  onDisconnect (reason) {
    // The close that follows has no reason.
    const cut = reason === null ? state.cut : `: ${reason}`
    Object.assign(state, { isLive: false, cut: cut ?? '' })
    changed()
  },
  onRefusedSubscription (reason) {
    state.cut = `: the gateway refuses the subscription: ${reason}`
    changed()
  }
})

let listing: Promise<void> | null = null
/** Whether changes may have been missed since all devices were read. */
let isListDue = true

/** Lists all devices; changes that came meanwhile are newer and stay. */
function listFleet (): Promise<void> {
  listing ??= (async () => {
    let cursor: string | null = null
    do {
      const from: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
      const page: { resources: Array<Parameters<typeof fleet.list>[0]>, next: string | null } =
        await askJson(`/vital-data?count=100&sortBy=deviceId&orderBy=asc${from}`)
      for (const resource of page.resources) fleet.list(resource)
      cursor = page.next
      changed()
    } while (cursor !== null)
    await listRefusals()
    state.isListed = true
    isListDue = false
    changed()
  })().finally(() => { listing = null })
  return listing
}

/** Takes recent refusals from before the page was opened. */
async function listRefusals (): Promise<void> {
  const { resources } = await askJson<{ resources: Array<RejectionChange & { deviceId: string | null }> }>('/dead-letters?count=100')
  for (const { deviceId: device, ...letter } of resources) {
    if (device !== null) fleet.refuse(toRefusal({ ...letter, device }), gatewayNowMs() / 1000)
  }
}

function listIfDue (): void {
  // A list that fails is asked for again with the next status, which also tells the fault.
  if (isListDue) listFleet().catch(() => {})
}

/**
 * While the component is shown, readings of these devices come as they are stored. Changes of other devices come every
 * two seconds.
 */
export function useInView (ids: readonly string[]): void {
  useEffect(() => {
    live.follow(ids)
    return () => { live.follow([]) }
  }, [ids.join('/')])
}

/** Asks for one device, which the list of all may reach late. An unknown device is not an error. */
export async function listDevice (id: string): Promise<void> {
  try {
    fleet.list(await askJson<Parameters<typeof fleet.list>[0]>(`/vital-data/${encodeURIComponent(id)}`))
    changed()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
  }
}

/** Takes changes of all devices, and refusals. @throws {@link ApiError} */
async function takeChanges (): Promise<void> {
  const { missed, devices, rejections } = await readChanges()
  for (const device of devices) fleet.change(device)
  for (const rejection of rejections) takeRejection(rejection)
  if (missed) isListDue = true
}

/** @throws {@link ApiError} */
async function takeStatus (): Promise<void> {
  const askedAtMs = performance.now()
  const status = await poll<Status>('/app/status.json')
  setGatewayNow(status.nowMs, performance.now() - askedAtMs)
  gateway.take(status)
}

let isReading = false

async function readStatus (): Promise<void> {
  if (state.phase !== 'open' || document.hidden || isReading) return
  isReading = true
  try {
    await takeStatus()
    await takeChanges()
    listIfDue()
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) logOut('The credential is no longer valid.')
    else gateway.miss(gatewayNowMs())
  } finally {
    isReading = false
  }
  changed()
}

/** Asks what the page may see; shows the login where it needs a credential. */
async function open (): Promise<void> {
  try {
    const config = await poll<PageConfig>('/app/config.json')
    state.config = config
    fleet.setLimits(config.limits)
    // Before anything is shown: ages and charts count by the gateway's clock.
    await takeStatus()
    // Before all devices are read, so that no change in between is missed.
    await takeChanges()
    state.phase = 'open'
    state.loginError = null
    listIfDue()
    if (!document.hidden) live.connect(config.principal?.id ?? null)
  } catch (error) {
    const { status, message } = error instanceof ApiError ? error : new ApiError(0, 'The gateway does not answer.')
    if (status === 401 || status === 403) {
      const refusal = status === 401
        ? 'This secret is not valid.'
        : 'This page needs the credential of an operator or an administrator.'
      state.loginError = readSecret() === null ? null : refusal
      keepSecret(null)
      state.phase = 'login'
    } else {
      gateway.miss(gatewayNowMs())
      state.loginError = message
      setTimeout(() => { open().catch(report) }, STATUS_INTERVAL_MS)
    }
  }
  changed()
}

export async function logIn (secret: string): Promise<void> {
  keepSecret(secret)
  await open()
}

export function logOut (reason: string | null = null): void {
  live.disconnect()
  keepSecret(null)
  fleet.clear()
  isListDue = true
  Object.assign(state, { phase: 'login', loginError: reason, isLive: false, cut: null, isListed: false, refusals: [] })
  changed()
}

/** Plays the shipped recordings, or stops them. */
export async function play (isOn: boolean): Promise<void> {
  await ask('/app/play', { method: isOn ? 'POST' : 'DELETE' })
  await readStatus()
}

/** A hidden tab that stayed connected would collect messages which no frame draws. */
function followVisibility (): void {
  let timer: ReturnType<typeof setTimeout> | undefined
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer)
    if (document.hidden) {
      timer = setTimeout(() => {
        live.disconnect()
        state.isLive = false
      }, HIDDEN_CONNECTED_MS)
    } else if (state.phase === 'open') {
      live.connect(state.config?.principal?.id ?? null)
      readStatus().catch(report)
    }
  })
}

/** An unexpected error is a defect, and goes to the browser's log. */
const report = (error: unknown): void => { reportError(error) }

export function start (): void {
  followVisibility()
  open().catch(report)
  setInterval(() => { readStatus().catch(report) }, STATUS_INTERVAL_MS)
  // Ages grow without any message.
  setInterval(changed, 1000)
}
