import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { OperatorError, type Print } from './command.ts'
import { readSecretFile } from './private-file.ts'

/** Options of every script that speaks to a gateway over HTTP, for `parseArgs`. */
export const ACCESS_ARGUMENTS = {
  'token-file': { type: 'string' },
  ca: { type: 'string' }
} as const

/** The part of `--help` that tells them. */
export const ACCESS_HELP = `  --token-file FILE  holds a secret of npm run credentials, or an access token: never on the command line, where others see it
  --ca FILE          certificates (PEM) to trust instead of the system's, for https://`

/** How a script proves who it is, and whom it believes. */
export interface Access {
  readonly token: string | null
  /** PEM; `null`: what the system trusts. */
  readonly ca: Buffer | null
}

/** @throws `OPERATOR_USAGE` */
export async function readAccess (
  values: { readonly 'token-file'?: string | undefined, readonly ca?: string | undefined }, tell: Print
): Promise<Access> {
  const file = values['token-file']
  return {
    token: file === undefined ? null : await readSecretFile('token-file', file, tell),
    ca: values.ca === undefined ? null : readCa(values.ca)
  }
}

/** @throws `OPERATOR_USAGE` */
export function readCa (file: string): Buffer {
  let text: Buffer
  try {
    text = readFileSync(file)
  } catch (cause) {
    throw new OperatorError('OPERATOR_USAGE', `--ca ${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
  // Node ignores what is no certificate, and would then trust nobody without a word about why.
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new OperatorError('OPERATOR_USAGE', `--ca ${file} holds no certificate (PEM)`)
  return text
}

/** @returns without a slash at its end @throws `OPERATOR_USAGE` */
export function toHttpUrl (text: string): string {
  if (!/^https?:\/\/[^/]/.test(text) || !URL.canParse(text)) throw new OperatorError('OPERATOR_USAGE', '--url must look like http://host:port or https://host:port')
  const { username, password } = new URL(text)
  if (username !== '' || password !== '') throw new OperatorError('OPERATOR_USAGE', '--url must hold no user and no password: others would see them. Use --token-file')
  return text.replace(/\/+$/, '')
}

/** Says so when a secret would cross a network readable by all. */
export function tellOfPlaintext (url: string, tell: Print): void {
  const { protocol, hostname } = new URL(url)
  const isPlain = ['http:', 'mqtt:', 'tcp:', 'ws:'].includes(protocol)
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'))
  if (isPlain && !isLoopback) tell(`warning: the secret crosses the network in the clear, for ${protocol}// does not encrypt`)
}
