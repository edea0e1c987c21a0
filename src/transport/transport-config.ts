import { isIP } from 'node:net'
import { createAddressSet } from '../../broker/listen/address.ts'
import type { Environment } from '../../schemas/environment.ts'
import { ConfigError } from '../config/config-error.ts'
import type { TlsFiles } from './tls.ts'

/** Listeners, TLS and proxies, beside `host` and the plain ports. */
export interface TransportConfig {
  /** Where plain MQTT listens. */
  readonly mqttHost: string
  /** Of MQTT inside TLS; counts only with `tls`. */
  readonly mqttsPort: number
  /** `null`: no TLS on any listener. */
  readonly tls: TlsFiles | null
  /** Addresses and CIDR ranges. */
  readonly trustedProxies: readonly string[]
  /** Trusted proxies begin MQTT connections with a PROXY header. */
  readonly proxyProtocol: boolean
  /** Origins whose pages may speak MQTT over WebSocket. */
  readonly webSocketOrigins: readonly string[]
  /** Where metrics and health listen; `null`: beside the rest of HTTP. */
  readonly admin: { readonly host: string, readonly port: number, readonly isLoopback: boolean } | null
  readonly warnings: readonly string[]
}

/** @throws {@link ConfigError} for names that need each other, and for lists with invalid items */
export function toTransportConfig (values: Environment): TransportConfig {
  const tls = toTlsFiles(values)
  const trustedProxies = toList(values.VITAL_TRUSTED_PROXIES)
  try {
    createAddressSet(trustedProxies)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new ConfigError(`VITAL_TRUSTED_PROXIES: ${error.message}. Write a list such as ` +
      '10.0.0.0/8,192.0.2.7.', { cause: error })
  }
  if (values.VITAL_PROXY_PROTOCOL && trustedProxies.length === 0) {
    throw new ConfigError('VITAL_PROXY_PROTOCOL=true needs VITAL_TRUSTED_PROXIES: a client that may send a PROXY header ' +
      'may claim any address.')
  }
  const isReachable = !isLoopback(values.VITAL_HOST) && !values.VITAL_MQTT_PLAINTEXT
  return Object.freeze({
    // Unencrypted data, secrets included, can be read and changed on the network. So beside TLS, plain MQTT is offered
    // there only when VITAL_MQTT_PLAINTEXT asks for it.
    mqttHost: isReachable && tls !== null ? '127.0.0.1' : values.VITAL_HOST,
    mqttsPort: values.VITAL_MQTTS_PORT,
    tls,
    trustedProxies,
    proxyProtocol: values.VITAL_PROXY_PROTOCOL,
    webSocketOrigins: toList(values.VITAL_WS_ORIGINS).map(toOrigin),
    admin: toAdmin(values),
    warnings: isReachable && tls === null
      ? ['readings and secrets cross the network unencrypted: set VITAL_TLS_CERT_FILE and VITAL_TLS_KEY_FILE, or ' +
        'VITAL_MQTT_PLAINTEXT=true where something else encrypts']
      : []
  })
}

function toTlsFiles (values: Environment): TlsFiles | null {
  const { VITAL_TLS_CERT_FILE: certFile, VITAL_TLS_KEY_FILE: keyFile, VITAL_TLS_CLIENT_CA_FILE: clientCaFile } = values
  if ((certFile === '') !== (keyFile === '')) {
    throw new ConfigError('VITAL_TLS_CERT_FILE and VITAL_TLS_KEY_FILE must be set together, or neither of them.')
  }
  if (clientCaFile !== '' && certFile === '') {
    throw new ConfigError('VITAL_TLS_CLIENT_CA_FILE needs VITAL_TLS_CERT_FILE and VITAL_TLS_KEY_FILE: client ' +
      'certificates come inside TLS.')
  }
  if (values.VITAL_TLS_CLIENT_CERT_REQUIRED && clientCaFile === '') {
    throw new ConfigError('VITAL_TLS_CLIENT_CERT_REQUIRED=true needs VITAL_TLS_CLIENT_CA_FILE, which says whose ' +
      'certificates count.')
  }
  if (certFile === '') return null
  return Object.freeze({
    certFile,
    keyFile,
    clientCaFile: clientCaFile === ''
      ? null
      : clientCaFile,
    clientCertRequired: values.VITAL_TLS_CLIENT_CERT_REQUIRED
  })
}

function toAdmin ({ VITAL_ADMIN_HOST: host, VITAL_ADMIN_PORT: port }: Environment): TransportConfig['admin'] {
  if (port !== undefined) return Object.freeze({ host, port, isLoopback: isLoopback(host) })
  if (!isLoopback(host)) throw new ConfigError('VITAL_ADMIN_HOST needs VITAL_ADMIN_PORT.')
  return null
}

/** As a browser spells it: without a path, and without the default port of its protocol. */
function toOrigin (text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  const isBare = url !== null && url.pathname === '/' && url.search === '' && url.hash === '' && url.username === ''
  if (!isBare || !/^https?:$/.test(url.protocol)) {
    throw new ConfigError(`VITAL_WS_ORIGINS: "${text}" is not an origin, such as https://ward.example.org.`)
  }
  return url.origin
}

/** Whether only this machine reaches the host. */
export function isLoopback (host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}

/** `a, b` → `['a', 'b']` */
export function toList (text: string): string[] {
  return text.split(',').map((item) => item.trim()).filter((item) => item !== '')
}
