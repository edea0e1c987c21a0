/**
 * HTTP of the gateway, with the credential of this tab, and the gateway's clock. `../store.ts` asks for most of what the page
 * shows; `changes.ts`, `history.ts` and `../refusals.tsx` ask for the rest, and `live.ts` subscribes over MQTT.
 */

/** Where the tab keeps the secret: the browser drops it with the tab. */
const STORAGE_KEY = 'vital-gateway.secret'

let secret: string | null = sessionStorage.getItem(STORAGE_KEY)
/** The gateway's clock less the browser's, in milliseconds. */
let offsetMs = 0

/** An answer of 400 or more, or none (status 0). */
export class ApiError extends Error {
  readonly status: number

  constructor (status: number, message: string) {
    super(message)
    this.status = status
  }
}

export const readSecret = (): string | null => secret

/** Keeps the secret for the life of the tab; `null` forgets it. */
export function keepSecret (value: string | null): void {
  secret = value
  if (value === null) sessionStorage.removeItem(STORAGE_KEY)
  else sessionStorage.setItem(STORAGE_KEY, value)
}

/** Unix milliseconds by the gateway's clock. */
export const gatewayNowMs = (): number => Date.now() + offsetMs

/** Takes the gateway's time from an answer that took `roundTripMs`. */
export function setGatewayNow (nowMs: number, roundTripMs: number): void {
  offsetMs = nowMs + roundTripMs / 2 - Date.now()
}

/** @throws {@link ApiError} */
export async function ask (path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  if (secret !== null) headers.set('authorization', `Bearer ${secret}`)
  let response: Response
  try {
    response = await fetch(path, { ...init, headers, credentials: 'omit', cache: 'no-store' })
  } catch {
    throw new ApiError(0, 'The gateway does not answer.')
  }
  if (response.ok) return response
  const body = await response.json().catch(() => null) as { message?: string } | null
  throw new ApiError(response.status, body?.message ?? `The gateway answered ${response.status}.`)
}

/** A gateway that does not answer at all must not look like one whose last answer still holds. */
const ANSWER_TIMEOUT_MS = 5000

/** A request that is repeated at intervals, with a time-out. @throws {@link ApiError} */
export async function poll<T> (path: string): Promise<T> {
  return await askJson(path, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })
}

/** @throws {@link ApiError} */
export async function askJson<T> (path: string, init?: RequestInit): Promise<T> {
  return await (await ask(path, init)).json() as T
}
