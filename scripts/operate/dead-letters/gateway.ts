import { setTimeout as sleep } from 'node:timers/promises'
import type { ErrorAnswer } from '../../../schemas/vital-data.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { type Answer, type GatewayClient, type GatewayRequest, toErrorAnswer, toFailure } from '../../command-line/gateway-client.ts'

const ATTEMPTS_MAX = 5
/** Longest that a `Retry-After` is followed. */
const RETRY_MAX_MS = 10_000

/** How a running gateway took a body. */
export type Posted =
  | { readonly status: 'stored' }
  /** The same body would be refused again. */
  | { readonly status: 'refused', readonly answer: ErrorAnswer }

/** A running gateway, as resending needs it. */
export function createResendTarget ({ url, request }: GatewayClient) {
  /** Tries again while the gateway is busy or PostgreSQL away. @throws `OPERATOR_FAILED` after {@link ATTEMPTS_MAX} tries */
  async function insist (path: string, options: GatewayRequest): Promise<Answer> {
    let failure = ''
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      let waitMs = 1000
      try {
        const answer = await request(path, options)
        if (![408, 429].includes(answer.status) && answer.status < 500) return answer
        failure = `it answers ${answer.status}: ${toErrorAnswer(answer).message}`
        waitMs = Math.min(RETRY_MAX_MS, 1000 * (answer.retryAfter ?? 1))
      } catch (error) {
        if (error instanceof OperatorError) throw error
        failure = toFailure(error)
      }
      if (attempt < ATTEMPTS_MAX) await sleep(waitMs)
    }
    throw new OperatorError('OPERATOR_FAILED', `the gateway at ${url} cannot take anything now: ${failure}.\n` +
      'Is it running? Start it with vital-gateway, or name another with --url.')
  }

  /**
   * Checks that this gateway writes to the database of the letter. Another gateway would move the reading from one database to the other.
   * @throws `OPERATOR_FAILED`
   */
  async function assertSameDatabase (id: string): Promise<void> {
    const answer = await insist(`/dead-letters/${id}`, {})
    if (answer.status === 200) return
    throw new OperatorError('OPERATOR_FAILED', toErrorAnswer(answer).code === 'VITAL_DEAD_LETTER_NOT_FOUND'
      ? `the gateway at ${url} has another database: it does not know dead letter ${id}. Name the right one with --url.`
      : `the server at ${url} is not this gateway: ${answer.status} to GET /dead-letters/${id}.`)
  }

  /** @throws `OPERATOR_FAILED` when the outcome is unknown; then the body may be sent again */
  async function post (body: Buffer): Promise<Posted> {
    const answer = await insist('/vital-data', { method: 'POST', body })
    return answer.status === 202 ? { status: 'stored' } : { status: 'refused', answer: toErrorAnswer(answer) }
  }

  return { assertSameDatabase, post }
}

export type ResendTarget = ReturnType<typeof createResendTarget>
