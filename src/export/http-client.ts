import { readFile } from 'node:fs/promises'
import { request as requestPlain, Agent as PlainAgent, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { request as requestTls, Agent as TlsAgent } from 'node:https'
import { ConfigError } from '../config/config-error.ts'
import type { ExportConfig } from '../config/export-config.ts'
import { ExportError } from './export-error.ts'
import type { ExportLimits } from './limits.ts'

export interface Question {
  readonly method: 'GET' | 'POST'
  /** Appended to the path of the URL. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: { readonly bytes: Buffer, readonly type: string, readonly encoding?: 'gzip' }
}

export interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: IncomingHttpHeaders
}

export interface HttpClientOptions {
  readonly config: ExportConfig
  readonly limits: Pick<ExportLimits, 'writeTimeoutMs' | 'answerBytesMax' | 'batchesInFlightMax'>
}

/**
 * Sends requests to the database over HTTP. They are not retried, and redirects are not followed.
 * @throws `ConfigError` if the CA file cannot be read
 */
export async function createHttpClient ({ config, limits }: HttpClientOptions) {
  const closing = new AbortController()
  const { url, isEncrypted, caFile, login, kind } = config
  const kept = { keepAlive: true, maxSockets: limits.batchesInFlightMax + 1 }
  const ca = caFile === null ? {} : { ca: await readCa(caFile) }
  const agent = isEncrypted ? new TlsAgent({ ...kept, ...ca, minVersion: 'TLSv1.2' }) : new PlainAgent(kept)
  const request = isEncrypted ? requestTls : requestPlain

  /** Read at each request, so that it can be changed. A line end at the end of the file is not part of it. */
  async function readSecret (variable: string, path: string): Promise<string> {
    try {
      return (await readFile(path, 'utf8')).replace(/\r?\n$/, '')
    } catch (cause) {
      throw new ExportError(`${variable}=${path} cannot be read: ${(cause as Error).message}`, 'VITAL_EXPORT_AWAY', { cause })
    }
  }

  async function toAuthorization (): Promise<Record<string, string>> {
    if (login === null) return {}
    if ('tokenFile' in login) {
      const token = await readSecret('VITAL_EXPORT_TOKEN_FILE', login.tokenFile)
      return { authorization: `${kind === 'influxdb2' ? 'Token' : 'Bearer'} ${token}` }
    }
    const password = await readSecret('VITAL_EXPORT_PASSWORD_FILE', login.passwordFile)
    return { authorization: `Basic ${Buffer.from(`${login.username}:${password}`).toString('base64')}` }
  }

  return {
    /** @throws {@link ExportError} if no complete answer arrives in time */
    async ask ({ method, path, query = {}, body }: Question): Promise<Answer> {
      const search = new URLSearchParams(query).toString()
      const headers = {
        ...await toAuthorization(),
        ...body === undefined ? {} : { 'content-type': body.type, 'content-length': String(body.bytes.length) },
        ...body?.encoding === undefined ? {} : { 'content-encoding': body.encoding }
      }
      const timeout = AbortSignal.timeout(limits.writeTimeoutMs)
      try {
        return await new Promise<Answer>((resolve, reject) => {
          const asked = request(`${url}${path}${search === '' ? '' : `?${search}`}`, {
            method, headers, agent, signal: AbortSignal.any([closing.signal, timeout])
          }, (response) => { readAnswer(response, limits.answerBytesMax).then(resolve, reject) })
          asked.on('error', reject)
          asked.end(body?.bytes)
        })
      } catch (cause) {
        const { code, message } = cause as NodeJS.ErrnoException
        throw timeout.aborted
          ? new ExportError(`it does not answer within ${limits.writeTimeoutMs} ms`, 'VITAL_EXPORT_TOO_LARGE', { cause })
          : new ExportError(`it does not answer: ${message === '' ? code : message}`, 'VITAL_EXPORT_AWAY', { cause })
      }
    },
    /** Ends requests that are under way. */
    close (): void {
      closing.abort()
      agent.destroy()
    }
  }
}

export type HttpClient = Awaited<ReturnType<typeof createHttpClient>>

async function readAnswer (response: IncomingMessage, bytesMax: number): Promise<Answer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes <= bytesMax) chunks.push(chunk)
  }
  return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(chunks).toString() }
}

async function readCa (path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`VITAL_EXPORT_TLS_CA_FILE=${path} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}
