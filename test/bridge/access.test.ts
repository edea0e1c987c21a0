import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createAuthority } from '../helpers/certificates.ts'
import { exactly } from '../helpers/exactly.ts'
import { NO_MOSQUITTO, startMosquitto } from '../helpers/mosquitto.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { startBridge } from './rig.ts'

/** A line of a password file, as `mosquitto_passwd` writes it. */
function toPasswordLine (user: string, password: string): string {
  const salt = randomBytes(12)
  return `${user}:$7$101$${salt.toString('base64')}$${pbkdf2Sync(password, salt, 101, 64, 'sha512').toString('base64')}\n`
}

t.test('TLS with a certificate of its own, and a password', { skip: NO_MOSQUITTO }, async (t) => {
  const authority = await createAuthority(t)
  const server = await authority.issueServer()
  const own = await authority.issue({ name: 'bridge', use: 'clientAuth' })
  const dir = await createTestDir(t)
  await chmod(dir, 0o755)
  await chmod(authority.directory, 0o755)
  await chmod(server.key, 0o644)
  const [users, passwordFile] = [join(dir, 'users'), join(dir, 'password')]
  await writeFile(users, toPasswordLine('bridge', 'correct horse'))
  await writeFile(passwordFile, 'correct horse\n')
  const broker = await startMosquitto(t, [
    `cafile ${authority.ca}`, `certfile ${server.cert}`, `keyfile ${server.key}`, 'require_certificate true', `password_file ${users}`
  ])
  const { connectionString } = await createTestDatabase(t)
  const variables = {
    DATABASE_URL: connectionString,
    VITAL_BRIDGE_URL: `mqtts://localhost:${broker.port}`,
    VITAL_BRIDGE_TLS_CA_FILE: authority.ca,
    VITAL_BRIDGE_TLS_CERT_FILE: own.cert,
    VITAL_BRIDGE_TLS_KEY_FILE: own.key,
    VITAL_BRIDGE_USERNAME: 'bridge',
    VITAL_BRIDGE_PASSWORD_FILE: passwordFile
  }
  t.ok(await (await startBridge(t, variables)).isReady())

  await writeFile(passwordFile, 'wrong\n')
  await t.rejects(startBridge(t, variables), /^vital-gateway bridge: the broker refused the connection \(0x87, not authorized\)/)
  const { VITAL_BRIDGE_TLS_CA_FILE: _, ...untrusted } = variables
  const stranger = await startBridge(t, untrusted)
  t.match((await stranger.health()).warnings,
    exactly(/^cannot connect to localhost:\d+: (?:self-signed certificate|unable to (?:get|verify))/))
  t.notOk(await stranger.isReady())
})

t.test('a missing variable stops the start with its name', async (t) => {
  await t.rejects(startBridge(t, { VITAL_BRIDGE_URL: 'mqtt://127.0.0.1:1' }), /^vital-gateway bridge needs DATABASE_URL: /)
  await t.rejects(startBridge(t, { DATABASE_URL: 'postgres://127.0.0.1:1/none' }), /^vital-gateway bridge needs VITAL_BRIDGE_URL: /)
})
