import { chmod, copyFile, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { ConfigError } from '../../src/config/config-error.ts'
import { createTls, type TlsFiles } from '../../src/transport/tls.ts'
import { createAuthority } from '../helpers/certificates.ts'
import { exactly } from '../helpers/exactly.ts'

async function start (files: Partial<TlsFiles> & Pick<TlsFiles, 'certFile' | 'keyFile'>) {
  const log: Array<{ level: number, msg: string, err?: { message: string } }> = []
  const logger = pino({ level: 'info' }, { write: (line: string) => { log.push(JSON.parse(line)) } })
  const tls = await createTls({ files: { clientCaFile: null, clientCertRequired: false, ...files }, logger })
  return { tls, log }
}

async function expectError (t: Test, files: Parameters<typeof start>[0], ...patterns: RegExp[]): Promise<void> {
  const error: unknown = await start(files).catch((error: unknown) => error)
  t.type(error, ConfigError)
  for (const pattern of patterns) t.match((error as Error).message, pattern)
}

t.test('unusable files are refused with a message that says what to do', async (t) => {
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const other = await authority.issueServer()
  await expectError(t, { certFile: '/nowhere/a.crt', keyFile: key }, /VITAL_TLS_CERT_FILE=\/nowhere\/a\.crt cannot be read/, /ENOENT/)
  await expectError(t, { certFile: cert, keyFile: '/nowhere/a.key' }, /VITAL_TLS_KEY_FILE=\/nowhere\/a\.key cannot be read/)
  await expectError(t, {
    certFile: cert, keyFile: key, clientCaFile: '/nowhere/ca.crt'
  }, /VITAL_TLS_CLIENT_CA_FILE=\/nowhere\/ca\.crt cannot be read/)
  await expectError(t, { certFile: cert, keyFile: other.key }, /is not that of the first certificate/)
  await expectError(t, { certFile: key, keyFile: key }, /VITAL_TLS_CERT_FILE=.* holds no PEM certificate/)
  await expectError(t, { certFile: cert, keyFile: cert }, /VITAL_TLS_KEY_FILE=.* holds no PEM private key/)
  await expectError(t, { certFile: cert, keyFile: key, clientCaFile: key }, /VITAL_TLS_CLIENT_CA_FILE=.* holds no PEM certificate/)
})

t.test('no message quotes a private key', async (t) => {
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const broken = join(authority.directory, 'broken.key')
  const pem = await readFile(key, 'utf8')
  await writeFile(broken, pem.replace('EC PRIVATE KEY', 'PRIVATE KEY'))
  const error: unknown = await start({ certFile: cert, keyFile: broken }).catch((error: unknown) => error)
  t.type(error, ConfigError)
  const [, secret] = pem.split('\n')
  t.notMatch(`${(error as Error).stack} ${String((error as Error).cause)}`, secret)
})

t.test('a world-readable key and an expired certificate are warned of, and nothing else', async (t) => {
  const authority = await createAuthority(t)
  const good = await authority.issueServer()
  const { tls, log } = await start({ certFile: good.cert, keyFile: good.key, clientCaFile: authority.ca })
  t.strictSame(tls.warnings(), [])
  t.strictSame(log, [])

  await chmod(good.key, 0o640)
  t.strictSame((await start({ certFile: good.cert, keyFile: good.key })).tls.warnings(), [], 'a group may read it')
  await chmod(good.key, 0o644)
  const open = await start({ certFile: good.cert, keyFile: good.key })
  t.match(open.tls.warnings(), exactly(/chmod o-rwx .*\.key/))
  t.match(open.log, exactly({ level: 40, msg: /every user of this machine/ }))

  const expired = await authority.issueServer({ days: -1 })
  const late = await start({ certFile: expired.cert, keyFile: expired.key })
  t.match(late.tls.warnings(), exactly(/VITAL_TLS_CERT_FILE expired on .*SIGHUP/))
})

t.test('a reload that fails is logged and changes nothing', async (t) => {
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const renewed = await authority.issueServer()
  const { tls, log } = await start({ certFile: cert, keyFile: key })
  let contexts = 0
  tls.keepRenewed({ setSecureContext: () => { contexts++ } } as unknown as Parameters<typeof tls.keepRenewed>[0])
  await copyFile(renewed.cert, cert)
  await tls.reload()
  t.equal(contexts, 0)
  t.match(log, exactly({ level: 50, msg: /the old ones stay/, err: { message: /not that of the first certificate/ } }))
  await rename(renewed.key, key)
  await tls.reload()
  t.equal(contexts, 1)
  t.match(log.at(-1), { level: 30, msg: 'certificates renewed' })
})
