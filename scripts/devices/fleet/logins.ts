import { readFileSync } from 'node:fs'
import { readCa } from '../../command-line/access.ts'
import { readSecretFile } from '../../command-line/private-file.ts'
import { parseRecords } from '../../command-line/records.ts'
import { usageError } from '../../command-line/operator-error.ts'

/** The options of the command line for the credentials of devices. */
export interface LoginOptions {
  readonly username: string | undefined
  readonly passwordFile: string | undefined
  readonly tokenFile: string | undefined
  readonly credentialsFile: string | undefined
  readonly ca: string | undefined
}

export interface Login {
  readonly username: string
  readonly password: string
}

/** The credentials of the devices of a fleet. */
export interface Logins {
  /** PEM; `null`: what the system trusts. */
  readonly ca: Buffer | null
  /** Those that have a secret of their own in the file; `null` without one. */
  readonly devices: readonly string[] | null
  /** `null` for a gateway that lets everyone in. @throws `OPERATOR_USAGE` when the file does not have the device */
  of (device: string): Login | null
}

/**
 * Reads the files that hold secrets: on the command line everyone on the machine would see them.
 * @throws `OPERATOR_USAGE`
 */
export async function readLogins (options: LoginOptions, tell: (text: string) => void): Promise<Logins> {
  const { username, passwordFile, tokenFile, credentialsFile } = options
  const ca = options.ca === undefined ? null : readCa(options.ca)
  if (credentialsFile !== undefined) {
    const passwords = readCredentials(credentialsFile)
    return {
      ca,
      devices: [...passwords.keys()],
      of (device) {
        const password = passwords.get(device)
        if (password === undefined) throw usageError(`--credentials ${credentialsFile} has no device "${device}"`)
        return { username: device, password }
      }
    }
  }
  if (passwordFile === undefined && tokenFile === undefined) return { ca, devices: null, of: () => null }
  const password = passwordFile === undefined
    ? await readSecretFile('token-file', tokenFile!, tell)
    : await readSecretFile('password-file', passwordFile, tell)
  return { ca, devices: null, of: (device) => ({ username: username ?? device, password }) }
}

/** The output of `vital-gateway credentials import`, or its input where people chose passwords. Only devices may publish. */
function readCredentials (file: string): ReadonlyMap<string, string> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw usageError(`--credentials ${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
  const passwords = new Map<string, string>()
  for (const { line, values } of parseRecords(text, { file, columns: ['id', 'role', 'secret', 'password'] })) {
    const { id, role = 'device', secret, password = secret } = values as { id?: string, role?: string, secret?: string, password?: string }
    if (role !== 'device') continue
    if (id === undefined || password === undefined) {
      throw usageError(`--credentials ${file}, line ${line}: a device needs an id and a secret (or a password)`)
    }
    passwords.set(id, password)
  }
  if (passwords.size === 0) throw usageError(`--credentials ${file} names no device`)
  return passwords
}
