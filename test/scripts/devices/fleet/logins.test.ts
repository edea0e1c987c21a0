import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readLogins } from '../../../../scripts/devices/fleet/logins.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { startGateway } from '../../../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../../../helpers/postgres.ts'
import { createAuthority } from '../../../helpers/certificates.ts'
import { runOperated } from '../../../helpers/operator.ts'
import { runScript } from './script.ts'

const NONE = { username: undefined, passwordFile: undefined, tokenFile: undefined, credentialsFile: undefined, ca: undefined }

t.test('the files of logins are parsed', async (t) => {
  const dir = await createTestDir(t)
  const told: string[] = []
  const read = (options: Partial<typeof NONE> | Record<string, string>) => readLogins({
    ...NONE, ...options
  }, (text) => { told.push(text) })
  t.equal((await read({})).of('a'), null)
  const file = join(dir, 'fleet.csv')
  await writeFile(file, 'id,role,secret,password\na,device,s,\nb,,,p\nann,operator,o,\n', { mode: 0o600 })
  const logins = await read({ credentialsFile: file })
  t.strictSame([logins.devices, logins.of('a'), logins.of('b')],
    [['a', 'b'], { username: 'a', password: 's' }, { username: 'b', password: 'p' }])
  t.throws(() => logins.of('ann'), { code: 'OPERATOR_USAGE', message: /has no device "ann"/ }, 'an operator does not publish')
  await writeFile(file, 'id\na\n')
  await t.rejects(read({ credentialsFile: file }), { code: 'OPERATOR_USAGE', message: /line 2: a device needs an id and a secret/ })
  await writeFile(file, 'id,role\n')
  await t.rejects(read({ credentialsFile: file }), { message: /names no device/ })
  const secret = join(dir, 'secret')
  await writeFile(secret, 'x y\n', { mode: 0o644 })
  t.strictSame((await read({ passwordFile: secret })).of('a'), { username: 'a', password: 'x y' })
  t.strictSame((await read({ tokenFile: secret, username: 'u' })).of('a'), { username: 'u', password: 'x y' })
  t.match(told, exactly(/secret can be read by others/, /secret can be read by others/))
})

t.test('a simulated fleet over TLS, in which each device has its own secret', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  await writeFile(join(dir, 'fleet.csv'), `id\n${Array.from({ length: 8 }, (_, index) => `band-${index}`).join('\n')}\n`)
  t.match(await runOperated('credentials', ['import', join(dir, 'fleet.csv')], { DATABASE_URL: connectionString }), { status: 0 })
  const { mqttsPort } = await startGateway(t, {
    DATABASE_URL: connectionString, VITAL_DATA_DIR: dir, VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key, VITAL_MQTTS_PORT: '0'
  })
  const fleet = [
    '--url', `mqtts://localhost:${mqttsPort}`, '--ca', authority.ca, '--rate', '10', '--duration', '0.5', '--connect-rate', '100'
  ]
  const [known, nobody] = await Promise.all([
    runScript(t, 'simulate', [...fleet, '--credentials', join(dir, 'fleet.secrets.csv')]), runScript(t, 'simulate', fleet)
  ])
  t.match(known, { status: 0, stdout: /8 devices[^]*unacknowledged +0\nrejected +0\n/ })
  t.match(nobody, { status: 1, stderr: /Not authorized\nThe gateway wants a credential of each device: give --credentials/ })
  t.same(await query('select count(*)::int as readings, count(distinct device)::int as devices from readings'),
    [{ readings: 40, devices: 8 }])
})
