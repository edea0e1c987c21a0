import { setTimeout as sleep } from 'node:timers/promises'
import type { ErrorAnswer } from '../../schemas/vital-data.ts'
import { OperatorError } from '../operator/command.ts'

const ATTEMPTS_MAX = 5
/** Longest that a `Retry-After` is followed. */
const RETRY_MAX_MS = 10_000

/** What a running gateway did with a body. */
export type Posted =
  | { readonly status: 'stored' }
  /** It will refuse the same again. */
  | { readonly status: 'refused', readonly answer: ErrorAnswer }

/** The HTTP side of a running gateway. */
export function createGatewayClient ({ url, timeoutMs }: {
  readonly url: string
  /** Of one request; longer than the gateway holds a reading before it answers 503. */
  readonly timeoutMs: number
}) {
  /** Tries again while the gateway is busy or PostgreSQL away. @throws `OPERATOR_FAILED` after {@link ATTEMPTS_MAX} tries */
  async function request (path: string, init: RequestInit): Promise<Response> {
    let failure = ''
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      let waitMs = 1000
      try {
        const response = await fetch(url + path, { ...init, redirect: 'error', signal: AbortSignal.timeout(timeoutMs) })
        if (![408, 429].includes(response.status) && response.status < 500) return response
        failure = `it answers ${response.status}: ${(await readAnswer(response)).message}`
        waitMs = Math.min(RETRY_MAX_MS, 1000 * Number(response.headers.get('retry-after') ?? 1))
      } catch (error) {
        failure = toReason(error)
      }
      if (attempt < ATTEMPTS_MAX) await sleep(waitMs)
    }
    throw new OperatorError('OPERATOR_FAILED', `the gateway at ${url} cannot take anything now: ${failure}.\n` +
      'Is it running? Start it with npm start, or name another with --url.')
  }

  /**
   * That this gateway writes to the database that the letter lies in; with another one, the reading would go from here to there.
   * @throws `OPERATOR_FAILED`
   */
  async function assertSameDatabase (id: string): Promise<void> {
    const response = await request(`/dead-letters/${id}`, {})
    if (response.status === 200) {
      await response.arrayBuffer()
      return
    }
    const { code } = await readAnswer(response)
    throw new OperatorError('OPERATOR_FAILED', code === 'VITAL_DEAD_LETTER_NOT_FOUND'
      ? `the gateway at ${url} has another database: it does not know dead letter ${id}. Name the right one with --url.`
      : `what answers at ${url} is not this gateway: ${response.status} to GET /dead-letters/${id}.`)
  }

  /** @throws `OPERATOR_FAILED` when it could not be told what became of it; then it may be sent again */
  async function post (body: Buffer): Promise<Posted> {
    const response = await request('/vital-data', { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    if (response.status === 202) {
      await response.arrayBuffer()
      return { status: 'stored' }
    }
    return { status: 'refused', answer: await readAnswer(response) }
  }

  return { assertSameDatabase, post }
}

export type GatewayClient = ReturnType<typeof createGatewayClient>

/** Whatever stands between us and the gateway may answer something else than JSON. */
async function readAnswer (response: Response): Promise<ErrorAnswer> {
  const text = await response.text()
  try {
    return JSON.parse(text) as ErrorAnswer
  } catch {
    return { statusCode: response.status, code: '', error: response.statusText, message: response.statusText }
  }
}

/** fetch hides the reason in `cause`. */
function toReason (error: unknown): string {
  const { cause, message } = error as Error
  if (cause instanceof Error) return (cause as NodeJS.ErrnoException).code ?? cause.message
  return message
}
