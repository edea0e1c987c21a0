import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const run = promisify(execFile)

/** PEM files of one certificate. */
export interface CertificateFiles { readonly cert: string, readonly key: string }

interface IssueOptions {
  /** Common name; also the name of the files. */
  readonly name: string
  readonly use: 'serverAuth' | 'clientAuth'
  /** In the notation of OpenSSL: `DNS:localhost,IP:127.0.0.1`. */
  readonly alternativeNames?: string
  /** Days until it expires; negative for an expired one. */
  readonly days?: number
}

/** A certificate authority in a directory of its own, made by the openssl command and removed with the test. */
export async function createAuthority (t: Test, name = 'Test CA') {
  const directory = await mkdtemp(join(tmpdir(), 'vital-certificates-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const openssl = (...args: string[]) => run('openssl', args, { cwd: directory })
  const makeKey = async (path: string) => {
    await openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path)
    await chmod(path, 0o600)
  }
  const ca = join(directory, 'ca.crt')
  await makeKey(join(directory, 'ca.key'))
  await openssl('req', '-x509', '-new', '-key', 'ca.key', '-days', '2', '-subj', `/CN=${name}`, '-out', ca)
  let serial = 0

  return {
    directory,
    /** The authority's own certificate. */
    ca,
    async issue ({ name, use, alternativeNames, days = 2 }: IssueOptions): Promise<CertificateFiles> {
      const base = `${serial++}-${name.replace(/[^\w-]/g, '_')}`
      const key = join(directory, `${base}.key`)
      const cert = join(directory, `${base}.crt`)
      const extensions = [`extendedKeyUsage=${use}`, ...(alternativeNames === undefined ? [] : [`subjectAltName=${alternativeNames}`])]
      await writeFile(join(directory, `${base}.ext`), extensions.join('\n'))
      await makeKey(key)
      await openssl('req', '-new', '-key', key, '-subj', `/CN=${name}`, '-out', `${base}.csr`)
      await openssl('x509', '-req', '-in', `${base}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial',
        '-days', String(days), '-extfile', `${base}.ext`, '-out', cert)
      return { cert, key }
    },
    /** For this machine. */
    issueServer (options: Partial<IssueOptions> = {}): Promise<CertificateFiles> {
      return this.issue({ name: 'gateway', use: 'serverAuth', alternativeNames: 'DNS:localhost,IP:127.0.0.1', ...options })
    }
  }
}

/** A certificate authority of a test. */
export type Authority = Awaited<ReturnType<typeof createAuthority>>
