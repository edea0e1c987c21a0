import { resolve } from 'node:path'
import type { Environment } from '../../schemas/environment.ts'
import { isLoopback } from '../transport/transport-config.ts'
import { ConfigError } from './config-error.ts'

/** The time-series database that `vital-gateway export` writes to, and the login. */
export interface ExportConfig {
  readonly kind: Environment['VITAL_EXPORT_KIND']
  /** Its protocol, host and port, and a path without a slash at its end. */
  readonly url: string
  /** `https:` */
  readonly isEncrypted: boolean
  readonly caFile: string | null
  /** The host is an address of this machine alone. */
  readonly isLoopback: boolean
  /** Database of InfluxDB 1 and 3, bucket of InfluxDB 2. */
  readonly database: string
  /** Of InfluxDB 2. */
  readonly org: string
  /** `null`: no login. */
  readonly login: { readonly username: string, readonly passwordFile: string } | { readonly tokenFile: string } | null
  /** Consumer group. */
  readonly group: string
  readonly batchReadingsMax: number
}

/**
 * The slice of the configuration for an export; `null` without VITAL_EXPORT_URL.
 * @throws `ConfigError` for a bad URL, and for names that need each other
 */
export function toExportConfig (values: Environment): ExportConfig | null {
  const { VITAL_EXPORT_URL: text, VITAL_EXPORT_KIND: kind, VITAL_EXPORT_ORG: org, VITAL_EXPORT_TLS_CA_FILE: caFile } = values
  if (text === undefined) return null
  const url = toUrl(text)
  const isEncrypted = url.protocol === 'https:'
  if (caFile !== '' && !isEncrypted) throw new ConfigError('VITAL_EXPORT_TLS_CA_FILE needs VITAL_EXPORT_URL=https://…')
  if (kind === 'influxdb2' && org === '') throw new ConfigError('VITAL_EXPORT_KIND=influxdb2 needs VITAL_EXPORT_ORG.')
  return Object.freeze({
    kind,
    url: `${url.origin}${url.pathname.replace(/\/+$/, '')}`,
    isEncrypted,
    caFile: caFile === '' ? null : resolve(caFile),
    isLoopback: isLoopback(url.hostname.replace(/^\[(.*)\]$/, '$1')),
    database: values.VITAL_EXPORT_DATABASE,
    org,
    login: toLogin(values),
    group: values.VITAL_EXPORT_GROUP,
    batchReadingsMax: values.VITAL_EXPORT_BATCH_READINGS_MAX
  })
}

/** Errors do not quote the text, because it may hold a password. */
function toUrl (text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new ConfigError('VITAL_EXPORT_URL must be http://host:port or https://host:port, with a path where a proxy needs one.')
  }
  if (url.username !== '' || url.password !== '') {
    throw new ConfigError('VITAL_EXPORT_URL must hold no user and password: set VITAL_EXPORT_USERNAME and VITAL_EXPORT_PASSWORD_FILE, or ' +
      'VITAL_EXPORT_TOKEN_FILE.')
  }
  return url
}

function toLogin (values: Environment): ExportConfig['login'] {
  const { VITAL_EXPORT_USERNAME: username, VITAL_EXPORT_PASSWORD_FILE: passwordFile, VITAL_EXPORT_TOKEN_FILE: tokenFile } = values
  if ((username === '') !== (passwordFile === '')) {
    throw new ConfigError('VITAL_EXPORT_USERNAME and VITAL_EXPORT_PASSWORD_FILE must be set together, or neither of them.')
  }
  if (tokenFile === '') return username === '' ? null : { username, passwordFile: resolve(passwordFile) }
  if (username !== '') throw new ConfigError('VITAL_EXPORT_TOKEN_FILE and VITAL_EXPORT_USERNAME exclude each other.')
  return { tokenFile: resolve(tokenFile) }
}
