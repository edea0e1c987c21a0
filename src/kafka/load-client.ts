import type * as client from '@platformatic/kafka'
import packageJson from '../../package.json' with { type: 'json' }
import { ConfigError } from '../config/config-error.ts'

/** The client of Kafka, as its package exports it. */
export type KafkaClient = typeof client

/**
 * Loads Kafka's client. Nothing else imports it, so a process without Kafka does not load it.
 * @param asked - the feature that needs it, as the message names it: `VITAL_JOURNAL=kafka`
 * @throws `ConfigError` if the client does not run on this Node.js, or the package is not installed
 */
export async function loadKafkaClient (asked: string): Promise<KafkaClient> {
  const refusal = toKafkaNodeRefusal(process.versions.node, asked)
  if (refusal !== null) throw new ConfigError(refusal)
  try {
    return await import('@platformatic/kafka')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError(`${asked} needs a package that is not installed: npm install ` +
      `@platformatic/kafka@${packageJson.peerDependencies['@platformatic/kafka']}`, { cause: error })
  }
}

/**
 * The reason why Kafka's client cannot run on this Node.js; on an older one its first call would fail.
 * @param version - as `process.versions.node`
 * @returns `null` when it can
 */
export function toKafkaNodeRefusal (version: string, asked: string): string | null {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isRun = major > 24 || (major === 24 && minor >= 6) || (major === 22 && minor >= 22)
  return isRun ? null : `${asked} needs Node.js 22.22, or 24.6 or newer, for Kafka's client, and this is ${version}.`
}
