import { pino } from 'pino'
import type { Config } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { createKeySet } from '../../../src/security/key-sets.ts'
import { createTls } from '../../../src/transport/tls.ts'
import { fail, type Finding, ok, toMessage, warn } from './finding.ts'

const DAY_MS = 86_400_000
/** Automatic renewal happens a month before the end; half of that is late. */
const DAYS_LEFT_MIN = 14

const logger = pino({ level: 'silent' })

/** Certificate and key: readable, of one pair, not expired and not about to be. */
export async function checkCertificates ({ transport: { tls: files } }: Config, nowMs = Date.now()): Promise<Finding[]> {
  const check = 'certificates'
  if (files === null) return [ok(check, 'none: VITAL_TLS_CERT_FILE is not set')]
  try {
    const tls = await createTls({ files, logger })
    const warnings = tls.warnings().map((text) => text.includes(' expired ') ? fail(check, text) : warn(check, text))
    if (warnings.some(({ status }) => status === 'FAIL')) return warnings
    const daysLeft = Math.floor((tls.expiresAtMs() - nowMs) / DAY_MS)
    const text = `${files.certFile} is good for ${daysLeft} more days, and its key matches`
    return [daysLeft < DAYS_LEFT_MIN ? warn(check, text, 'renew it and send SIGHUP') : ok(check, text), ...warnings]
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return [fail(check, error.message)]
  }
}

/** Keys of the issuer of tokens; without them no token is accepted. */
export async function checkTokenKeys ({ tokens }: Config): Promise<Finding[]> {
  if (tokens === null) return []
  let failure: unknown = null
  try {
    const keys = await createKeySet(tokens.jwks, { onFailure: (error) => { failure = error } })
    // A URL is read when a key is first asked for; this key need not be in the set.
    await keys.getKey({ alg: 'RS256' }, { payload: '', signature: '' }).catch(() => {})
  } catch (error) {
    failure = error
  }
  if (failure === null) return [ok('token keys', `${tokens.jwks} holds a key set`)]
  return [fail('token keys', `VITAL_JWT_JWKS=${tokens.jwks} cannot be used: ${toMessage(failure)}`,
    'name a file or an https URL of a JWKS')]
}
