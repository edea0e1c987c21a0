import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createSecureContext, type SecureContextOptions, type Server } from 'node:tls'
import type { Logger } from 'pino'
import type { ServerTls } from '../../broker/listen/tls-handshakes.ts'
import { ConfigError } from '../config/config-error.ts'

/** Paths of the certificates; each file is PEM. */
export interface TlsFiles {
  /** The server's own certificate first, then the intermediate ones. */
  readonly certFile: string
  readonly keyFile: string
  /** Authorities of client certificates; `null`: clients are not asked for one. */
  readonly clientCaFile: string | null
  /** Whether a client without a valid certificate is refused in the handshake, over MQTT, HTTPS and gRPC. */
  readonly clientCertRequired: boolean
}

/** TLS of every listener. */
export interface Tls extends ServerTls {
  /**
   * Reads the files again. Where they cannot be used, that is logged and the old ones stay. Settles when every server
   * has the new ones.
   */
  reload (): Promise<void>
  /** Current weaknesses of the certificates and keys. */
  warnings (): string[]
  /** Unix milliseconds at which the server's certificate ends. */
  expiresAtMs (): number
}

interface Loaded {
  readonly context: SecureContextOptions
  readonly certificates: ReadonlyArray<{ readonly variable: string, readonly certificate: X509Certificate }>
  readonly keyFileIsOpen: boolean
}

/** Group access is how distributions let services read keys; access for all is a mistake. */
const OTHERS_MODE = 0o007
/** TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996). */
const PROTOCOL_MIN = 'TLSv1.2'

/**
 * Reads the certificates once, and again at each `reload`.
 * @throws {@link ConfigError} for a file that is missing, is not PEM, or does not fit the others
 */
export async function createTls ({ files, logger }: { files: TlsFiles, logger: Logger }): Promise<Tls> {
  const servers: Server[] = []
  let loaded = await load(files)
  warnAll()

  function warnings (): string[] {
    const expired = loaded.certificates.flatMap(({ variable, certificate }) => toValidityWarning(variable, certificate,
      Date.now()) ?? [])
    const open = `every user of this machine may read the private key: chmod o-rwx ${files.keyFile}`
    return loaded.keyFileIsOpen ? [...expired, open] : expired
  }

  function warnAll (): void {
    for (const warning of warnings()) logger.warn(warning)
  }

  async function reload (): Promise<void> {
    try {
      const renewed = await load(files)
      for (const server of servers) server.setSecureContext(renewed.context)
      loaded = renewed
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      logger.error({ err: error }, 'the certificates were not renewed; the old ones stay')
      return
    }
    const [own] = loaded.certificates
    logger.info({ subject: own?.certificate.subject, validTo: own?.certificate.validTo }, 'certificates renewed')
    warnAll()
  }

  return {
    options: {
      ...loaded.context, requestCert: files.clientCaFile !== null, rejectUnauthorized: files.clientCertRequired
    },
    keepRenewed (server) { servers.push(server) },
    reload,
    warnings,
    expiresAtMs: () => Date.parse(loaded.certificates[0]?.certificate.validTo ?? '')
  }
}

async function load ({ certFile, keyFile, clientCaFile }: TlsFiles): Promise<Loaded> {
  const [cert, key, ca] = await Promise.all([
    readPem('VITAL_TLS_CERT_FILE', certFile),
    readPem('VITAL_TLS_KEY_FILE', keyFile),
    clientCaFile === null ? null : readPem('VITAL_TLS_CLIENT_CA_FILE', clientCaFile)
  ])
  const certificate = parseCertificate('VITAL_TLS_CERT_FILE', certFile, cert)
  if (!certificate.checkPrivateKey(parseKey(keyFile, key))) {
    throw new ConfigError(`The key in VITAL_TLS_KEY_FILE=${keyFile} is not that of the first certificate in ` +
      `VITAL_TLS_CERT_FILE=${certFile}. Use the two files that were made together; in a chain the server's own ` +
      'certificate comes first.')
  }
  const certificates = [{ variable: 'VITAL_TLS_CERT_FILE', certificate }]
  if (ca !== null && clientCaFile !== null) {
    certificates.push({
      variable: 'VITAL_TLS_CLIENT_CA_FILE', certificate: parseCertificate('VITAL_TLS_CLIENT_CA_FILE', clientCaFile, ca)
    })
  }
  const context: SecureContextOptions = { cert, key, minVersion: PROTOCOL_MIN, ...(ca === null ? {} : { ca }) }
  try {
    createSecureContext(context)
  } catch (error) {
    throw new ConfigError(`The certificates in ${certFile} cannot be used: ${toMessage(error)}`, { cause: error })
  }
  return { context, certificates, keyFileIsOpen: ((await stat(keyFile)).mode & OTHERS_MODE) !== 0 }
}

async function readPem (variable: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new ConfigError(`${variable}=${path} cannot be read: ${toMessage(error)}. It must be the path of a PEM ` +
      'file that the account of the gateway may read.', { cause: error })
  }
}

function parseCertificate (variable: string, path: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw new ConfigError(`${variable}=${path} holds no PEM certificate (-----BEGIN ` +
      'CERTIFICATE-----).', { cause: error })
  }
}

function parseKey (path: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new ConfigError(`VITAL_TLS_KEY_FILE=${path} holds no PEM private key without a passphrase. ` +
      'openssl pkey -in OLD -out NEW takes a passphrase off.', { cause: error })
  }
}

function toValidityWarning (variable: string, { validFrom, validTo }: X509Certificate, nowMs: number): string | null {
  if (nowMs > Date.parse(validTo)) {
    return `the certificate in ${variable} expired on ${validTo}: clients refuse it. Renew the file and send SIGHUP`
  }
  if (nowMs < Date.parse(validFrom)) {
    return `the certificate in ${variable} is valid from ${validFrom} only: check it, and the clock`
  }
  return null
}

const toMessage = (error: unknown): string => error instanceof Error ? error.message : String(error)
