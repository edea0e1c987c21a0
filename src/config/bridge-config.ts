import { resolve } from 'node:path'
import type { Environment } from '../../schemas/environment.ts'
import { isLoopback } from '../transport/transport-config.ts'
import { ConfigError } from './config-error.ts'
import { parseTopicTemplate, type TopicTemplate } from './topic-template.ts'

/** The external broker that `vital-gateway bridge` takes readings from, its topics and the login. */
export interface BridgeConfig {
  readonly host: string
  readonly port: number
  /** `host` is an address of this machine alone. */
  readonly isLoopback: boolean
  /** `null`: plain TCP. */
  readonly tls: { readonly caFile: string | null, readonly certFile: string | null, readonly keyFile: string | null } | null
  readonly topic: TopicTemplate
  readonly group: string
  /** `null`: one is kept in the data directory. */
  readonly clientId: string | null
  /** `null`: no login. */
  readonly login: { readonly username: string, readonly passwordFile: string | null } | null
}

const PORTS: Readonly<Record<string, number>> = { 'mqtt:': 1883, 'mqtts:': 8883 }

/**
 * The slice of the configuration for the bridge; `null` without VITAL_BRIDGE_URL.
 * @throws `ConfigError` for a bad URL or topic, and for names that need each other
 */
export function toBridgeConfig (values: Environment): BridgeConfig | null {
  const { VITAL_BRIDGE_URL: text, VITAL_BRIDGE_USERNAME: username, VITAL_BRIDGE_PASSWORD_FILE: passwordFile } = values
  if (text === undefined) return null
  const { host, port, isTls } = toAddress(text)
  if (passwordFile !== '' && username === '') throw new ConfigError('VITAL_BRIDGE_PASSWORD_FILE needs VITAL_BRIDGE_USERNAME.')
  return Object.freeze({
    host,
    port,
    isLoopback: isLoopback(host),
    tls: toTls(values, isTls),
    topic: parseTopicTemplate(values.VITAL_BRIDGE_TOPIC, { areWildcardsAllowed: values.VITAL_BRIDGE_ALLOW_WILDCARDS }),
    group: values.VITAL_BRIDGE_GROUP,
    clientId: values.VITAL_BRIDGE_CLIENT_ID ?? null,
    login: username === '' ? null : { username, passwordFile: toPath(passwordFile) }
  })
}

/** Errors do not quote the text, because it may hold a password. */
function toAddress (text: string): { host: string, port: number, isTls: boolean } {
  const url = URL.canParse(text) ? new URL(text) : null
  const port = url === null ? undefined : PORTS[url.protocol]
  if (url === null || port === undefined || url.hostname === '' || !['', '/'].includes(url.pathname) || url.search !== '') {
    throw new ConfigError('VITAL_BRIDGE_URL must be mqtt://host:1883, or mqtts://host:8883 for TLS.')
  }
  if (url.username !== '' || url.password !== '') {
    throw new ConfigError('VITAL_BRIDGE_URL must hold no user and password: set VITAL_BRIDGE_USERNAME and VITAL_BRIDGE_PASSWORD_FILE.')
  }
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: url.port === '' ? port : Number(url.port), isTls: url.protocol === 'mqtts:'
  }
}

function toTls (values: Environment, isTls: boolean): BridgeConfig['tls'] {
  const { VITAL_BRIDGE_TLS_CA_FILE: ca, VITAL_BRIDGE_TLS_CERT_FILE: cert, VITAL_BRIDGE_TLS_KEY_FILE: key } = values
  if (!isTls) {
    if (ca + cert + key !== '') throw new ConfigError('VITAL_BRIDGE_TLS_* need VITAL_BRIDGE_URL=mqtts://…')
    return null
  }
  if ((cert === '') !== (key === '')) {
    throw new ConfigError('VITAL_BRIDGE_TLS_CERT_FILE and VITAL_BRIDGE_TLS_KEY_FILE must be set together, or neither of them.')
  }
  return { caFile: toPath(ca), certFile: toPath(cert), keyFile: toPath(key) }
}

const toPath = (text: string): string | null => text === '' ? null : resolve(text)
