import { readFile } from 'node:fs/promises'
import { isIP, connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { BridgeConfig } from '../config/bridge-config.ts'
import { UpstreamError } from './upstream-error.ts'

/**
 * Opens a socket to the broker, with TLS if it is configured. Certificates are read each time, so that they can be
 * renewed.
 * @param signal - ends the attempt
 * @throws UpstreamError
 */
export async function openSocket (
  { host, port, tls }: Pick<BridgeConfig, 'host' | 'port' | 'tls'>, { timeoutMs, signal }: { timeoutMs: number, signal: AbortSignal }
): Promise<Socket> {
  const where = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: timeoutMs }
  const [ca, cert, key] = tls === null
    ? []
    : await Promise.all([
      readNamed('VITAL_BRIDGE_TLS_CA_FILE', tls.caFile), readNamed('VITAL_BRIDGE_TLS_CERT_FILE', tls.certFile),
      readNamed('VITAL_BRIDGE_TLS_KEY_FILE', tls.keyFile)
    ])
  signal.throwIfAborted()
  const socket = tls === null
    ? connectTcp(where)
    // RFC 6066 §3 does not allow an IP address as a server name.
    : connectTls({ ...where, ca, cert, key, minVersion: 'TLSv1.2', ...isIP(host) === 0 ? { servername: host } : {} })
  return await new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown) => {
      socket.destroy()
      reject(new UpstreamError(`cannot connect to ${host}:${port}: ${why}`, { cause }))
    }
    const onAbort = () => { fail('the bridge stops') }
    const timer = setTimeout(() => { fail(`no answer within ${timeoutMs} ms`) }, timeoutMs)
    signal.addEventListener('abort', onAbort, { once: true })
    const onError = (cause: Error) => { fail(cause.message, cause) }
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('error', onError)
    }
    socket.on('error', onError)
    socket.once('close', done)
    socket.once(tls === null ? 'connect' : 'secureConnect', () => {
      socket.off('close', done)
      done()
      resolve(socket)
    })
  })
}

/** Reads the password, without a line end at the end of the file. @throws UpstreamError */
export async function readPassword (path: string | null): Promise<Buffer | null> {
  const text = await readNamed('VITAL_BRIDGE_PASSWORD_FILE', path)
  return text === undefined ? null : Buffer.from(text.replace(/\r?\n$/, ''))
}

/** @throws UpstreamError that an operator must correct */
async function readNamed (variable: string, path: string | null): Promise<string | undefined> {
  if (path === null) return undefined
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new UpstreamError(`${variable}=${path} cannot be read: ${(cause as Error).message}`, { isPermanent: true, cause })
  }
}
