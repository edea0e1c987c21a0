import { ConfigError } from './config-error.ts'

const FORM = 'Write it as postgres://user:password@host:5432/database, with special characters of the password ' +
  'percent-encoded.'

/**
 * libpq's names. application_name and connect_timeout are taken and ignored: the gateway sets them for each of its
 * connections.
 */
const KEYWORDS = new Set(['host', 'hostaddr', 'port', 'dbname', 'user', 'password', 'sslmode', 'sslcert', 'sslkey', 'sslrootcert',
  'application_name', 'options', 'connect_timeout'])

const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full', 'no-verify']

/**
 * `DATABASE_URL` as the driver reads it: a URL, or libpq's `host=… port=… dbname=…`.
 *
 * The driver itself reads almost any text as a URL of some kind: `mysql://…` and `localhost:5432/x` would be tried for
 * ever, and `host=127.0.0.1` would be looked up as the host `base`.
 * @throws {@link ConfigError} for a text that can never work; its message holds no password
 */
export function toDatabaseUrl (text: string): string {
  if (/^\s*[a-z_]+\s*=/i.test(text)) return toUrl(parseKeywords(text))
  // A directory of sockets, which the driver knows.
  if (text.startsWith('/')) return text
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
  if (scheme === undefined) {
    throw new ConfigError(`DATABASE_URL does not begin with postgres://, so it is not a URL of PostgreSQL. ${FORM}`)
  }
  if (scheme !== 'postgres' && scheme !== 'postgresql' && scheme !== 'socket') {
    throw new ConfigError(`DATABASE_URL begins with ${scheme}://: the gateway stores in PostgreSQL only. ${FORM}`)
  }
  const url = parseUrl(text)
  if (url !== null) checkSslMode(url.searchParams.get('sslmode'))
  return text
}

/** `null`: without a host, as in `postgres://user@/database`, which the driver knows and the URL standard does not. */
function parseUrl (text: string): URL | null {
  if (URL.canParse(text)) return new URL(text)
  const withHost = text.replace('@/', '@socket/')
  if (URL.canParse(withHost)) return new URL(withHost)
  throw new ConfigError('DATABASE_URL cannot be read as a URL: a port is not a number, or the password holds one of : / ' +
    `? # @ as it is. ${FORM}`)
}

function checkSslMode (mode: string | null): void {
  if (mode === null || SSL_MODES.includes(mode)) return
  if (mode === 'prefer' || mode === 'allow') {
    throw new ConfigError(`sslmode=${mode} in DATABASE_URL leaves it to the server, and to any party in between, ` +
      'whether readings are encrypted. Say which: sslmode=verify-full for TLS, with sslrootcert=FILE for an ' +
      'authority of your own, or sslmode=disable.')
  }
  throw new ConfigError(`sslmode=${mode} in DATABASE_URL is not known; it must be one of ${SSL_MODES.join(', ')}.`)
}

/**
 * `name = value`, separated by spaces; a value in quotes may hold spaces, and a backslash stands before a quote or a
 * backslash.
 * @see PostgreSQL manual, "Connection Strings": "Keyword/Value Connection Strings"
 */
function parseKeywords (text: string): Map<string, string> {
  const values = new Map<string, string>()
  const pair = /\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)/iy
  while (pair.lastIndex < text.trimEnd().length) {
    const at = pair.lastIndex
    const match = pair.exec(text)
    if (match === null) {
      throw new ConfigError(`DATABASE_URL reads like libpq's "host=… port=…", but not from character ${at + 1} on: ` +
        `write name=value, separated by spaces, values with spaces in single quotes. ${FORM}`)
    }
    const [, name = '', quoted, plain = ''] = match
    if (!KEYWORDS.has(name)) {
      throw new ConfigError(`DATABASE_URL: the gateway does not know ${name}=; it knows ${[...KEYWORDS].join(', ')}.`)
    }
    values.set(name, (quoted ?? plain).replaceAll(/\\(.)/g, '$1'))
  }
  return values
}

function toUrl (values: ReadonlyMap<string, string>): string {
  const of = (name: string) => values.get(name) ?? ''
  const host = of('hostaddr') || of('host') || 'localhost'
  if (host.includes(',')) {
    throw new ConfigError('DATABASE_URL names several hosts; the gateway takes one. Put a proxy before them that ' +
      'knows the primary.')
  }
  const port = of('port') || '5432'
  if (!/^\d{1,5}$/.test(port)) throw new ConfigError(`DATABASE_URL: port=${port} is not a port.`)
  checkSslMode(values.get('sslmode') ?? null)
  const query = new URLSearchParams()
  for (const [name, value] of values) {
    if (/^ssl|^options$/.test(name)) query.set(name, value)
  }
  const isSocket = host.startsWith('/')
  if (isSocket) query.set('host', host)
  const account = values.has('password')
    ? `${encodeURIComponent(of('user'))}:${encodeURIComponent(of('password'))}`
    : encodeURIComponent(of('user'))
  const address = isSocket ? 'localhost' : host.includes(':') ? `[${host}]` : encodeURIComponent(host)
  const search = query.size > 0 ? `?${query.toString().replaceAll('+', '%20')}` : ''
  return `postgres://${account === '' ? '' : `${account}@`}${address}:${port}/${encodeURIComponent(of('dbname'))}${search}`
}
