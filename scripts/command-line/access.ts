import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { Command } from 'commander'
import { usageError } from './operator-error.ts'
import { readSecretFile } from './private-file.ts'
import type { Print } from './surroundings.ts'

/** What {@link addAccessOptions} yields. */
export interface AccessValues {
  readonly tokenFile?: string
  readonly ca?: string
}

/** Options of every command that speaks HTTP to a gateway. Secrets come from files: others can see a command line. */
export function addAccessOptions (command: Command): Command {
  return command
    .option('--token-file <file>', 'holds a secret of vital-gateway credentials, or an access token')
    .option('--ca <file>', 'certificates (PEM) to trust instead of the system\'s, for https://')
}

/** The credential that a command presents, and the certificates that it trusts. */
export interface Access {
  readonly token: string | null
  /** PEM; `null`: what the system trusts. */
  readonly ca: Buffer | null
}

/** @throws `OPERATOR_USAGE` */
export async function readAccess ({ tokenFile, ca }: AccessValues, tell: Print): Promise<Access> {
  return {
    token: tokenFile === undefined ? null : await readSecretFile('token-file', tokenFile, tell),
    ca: ca === undefined ? null : readCa(ca)
  }
}

/** @throws `OPERATOR_USAGE` */
export function readCa (file: string): Buffer {
  let text: Buffer
  try {
    text = readFileSync(file)
  } catch (cause) {
    throw usageError(`--ca ${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
  // Node ignores anything but a certificate, and would then refuse every server without telling why.
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw usageError(`--ca ${file} holds no certificate (PEM)`)
  return text
}

/** @returns the URL without a slash at its end @throws `OPERATOR_USAGE` */
export function toHttpUrl (text: string): string {
  if (!/^https?:\/\/[^/]/.test(text) || !URL.canParse(text)) {
    throw usageError('--url must look like http://host:port or https://host:port')
  }
  const { username, password } = new URL(text)
  if (username !== '' || password !== '') {
    throw usageError('--url must hold no user and no password: others would see them. Use --token-file')
  }
  return text.replace(/\/+$/, '')
}

/** Warns of a secret that would cross a network unencrypted. */
export function tellOfPlaintext (url: string, tell: Print): void {
  const { protocol, hostname } = new URL(url)
  const isPlain = ['http:', 'mqtt:', 'tcp:', 'ws:'].includes(protocol)
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'))
  if (isPlain && !isLoopback) tell(`warning: the secret crosses the network in the clear, for ${protocol}// does not encrypt`)
}
