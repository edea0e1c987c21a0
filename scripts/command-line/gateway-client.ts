import { request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import type { ErrorAnswer } from '../../schemas/vital-data.ts'
import type { Access } from './access.ts'
import { OperatorError } from './operator-error.ts'

/** The answer of a gateway, or of whatever listens in its place. */
export interface Answer {
  readonly status: number
  /** Seconds. */
  readonly retryAfter: number | null
  readonly text: string
}

export interface GatewayRequest {
  readonly method?: string
  /** JSON. */
  readonly body?: Buffer
}

/**
 * The HTTP side of a running gateway. Not `fetch`, which takes no certificates to trust and gives up on an answer after
 * five minutes. No redirect is followed, because a token belongs to one address.
 */
export function createGatewayClient ({ url, access, timeoutMs }: {
  readonly url: string
  readonly access: Access
  /** Of a socket without a byte; 0: none. */
  readonly timeoutMs: number
}) {
  const send = url.startsWith('https:') ? requestTls : requestPlain
  const headers = {
    ...access.token === null ? {} : { authorization: `Bearer ${access.token}` },
    connection: 'close'
  }

  /**
   * @throws `OPERATOR_FAILED` where the gateway wants a credential, or another
   * @throws what the network failed with
   */
  async function request (path: string, { method = 'GET', body }: GatewayRequest = {}): Promise<Answer> {
    const answer = await new Promise<Answer>((resolve, reject) => {
      const outgoing = send(url, {
        // Not within the URL, where `..` would be resolved.
        path: new URL(url).pathname.replace(/\/$/, '') + path,
        method,
        timeout: timeoutMs,
        headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json', 'content-length': body.length },
        ...access.ca === null ? {} : { ca: access.ca }
      }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => { chunks.push(chunk) })
        response.once('error', reject)
        response.once('end', () => {
          const retryAfter = Number(response.headers['retry-after'] ?? NaN)
          resolve({
            status: response.statusCode ?? 0,
            retryAfter: Number.isNaN(retryAfter)
              ? null
              : retryAfter,
            text: Buffer.concat(chunks).toString()
          })
        })
      })
      outgoing.once('timeout', () => { outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)) })
      outgoing.once('error', reject)
      outgoing.end(body)
    })
    if (answer.status === 401) {
      throw new OperatorError('OPERATOR_FAILED', access.token === null
        ? `the gateway at ${url} wants a credential: give --token-file. vital-gateway credentials add NAME --role admin makes one.`
        : `the gateway at ${url} does not know the secret in --token-file: it was rotated or revoked, or belongs to another gateway.`)
    }
    if (answer.status === 403) {
      throw new OperatorError('OPERATOR_FAILED',
        `the gateway at ${url} does not allow this${access.token === null ? '' : ' to the role of --token-file'}: ` +
          `${toErrorAnswer(answer).message}.`)
    }
    return answer
  }

  return { url, request }
}

export type GatewayClient = ReturnType<typeof createGatewayClient>

/** A proxy before the gateway may answer something else than JSON. */
export function toErrorAnswer ({ status, text }: Answer): ErrorAnswer {
  const unknown = { statusCode: status, code: '', error: '', message: `status ${status}` }
  try {
    return { ...unknown, ...JSON.parse(text) as Partial<ErrorAnswer> }
  } catch {
    return unknown
  }
}

/** Why a request failed, in a few words. Node lists several tried addresses in `errors`. */
export function toFailure (error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === undefined || message.includes('certificate') ? message || String(error) : code
}
