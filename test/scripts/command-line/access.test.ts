/** The commands against a gateway with credentials and TLS. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { exactly } from '../../helpers/exactly.ts'
import { connectClient, startGateway } from '../../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { createAuthority } from '../../helpers/certificates.ts'
import { runOperated } from '../../helpers/operator.ts'

/** A gateway with TLS, and a file with the secret of each role. */
async function open (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const variables = { DATABASE_URL: connectionString, VITAL_DATA_DIR: dir }
  const run = (script: string, ...args: string[]) => runOperated(script, args, variables)
  const add = async (id: string, role: string) => {
    const { stdout } = await run('credentials', 'add', id, '--role', role)
    const file = join(dir, `${id}.secret`)
    await writeFile(file, stdout, { mode: 0o600 })
    return file
  }
  const files = { admin: await add('ann', 'admin'), operator: await add('otto', 'operator'), device: await add('bed-1', 'device') }
  const gateway = await startGateway(t, { ...variables, VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key, VITAL_MQTTS_PORT: '0' })
  return { ...gateway, url: `https://localhost:${gateway.httpPort}`, ca: authority.ca, dir, files, query, run }
}

t.test('over HTTPS, as an administrator and as an operator', async (t) => {
  const { url, ca, files, query, run, mqttPort, dir } = await open(t)
  const secret = (await readFile(files.device, 'utf8')).trim()
  const device = await connectClient(t, mqttPort, { clientId: 'bed-1', username: 'bed-1', password: secret })
  await device.publishAsync('vital/bed-1', '{"timestamp":1}', { qos: 1 })
  await device.publishAsync('vital/bed-1', 'no json', { qos: 1 })
  await device.publishAsync('vital/bed-1', 'nor this', { qos: 1 })
  await device.endAsync()
  const https = ['--url', url, '--ca', ca]
  const as = (role: keyof typeof files) => [...https, '--token-file', files[role]]

  t.match(await run('audit', ...as('operator')), { status: 0, stdout: /^https:\/\/localhost:\d+ runs since [^]*\nbalanced\n$/ })
  t.match(await run('audit', ...https), { status: 1, stderr: /wants a credential: give --token-file/ })
  t.match(await run('audit', ...as('device')), { status: 1, stderr: /does not allow this to the role of --token-file/ })
  t.match(await run('audit', '--url', url, '--token-file', files.operator), {
    status: 1, stderr: /\/metrics cannot be read: .*certificate/
  })
  const wrong = join(dir, 'wrong')
  await writeFile(wrong, `vg_${'x'.repeat(43)}\n`)
  t.match(await run('audit', ...https, '--token-file', wrong), {
    status: 1, stderr: /^.*wrong can be read by others on this machine: chmod 600 .*\n[^]*does not know the secret in --token-file/
  })

  const [letter] = await query<{ id: string }>('select id from dead_letters where payload = \'no json\'')
  await query('update dead_letters set payload = \'{"timestamp":2}\' where id = $1', [letter!.id])
  t.match(await run('dead-letters', 'replay', letter!.id, ...as('operator')), { status: 1, stderr: /does not allow this/ })
  t.match(await run('dead-letters', 'replay', letter!.id, ...as('admin')), { status: 0, stdout: /resent 1, kept 0/ })
  t.match(await run('dead-letters', 'discard', '--device', 'bed-1'), { status: 0, stdout: 'discarded 1\n' })
  t.match(await query('select actor, act, target, details from audit_log where act like \'dead_letters.%\' order by id'), exactly(
    { actor: /^cli:.+@.+/, act: 'dead_letters.replay', target: 'bed-1', details: { id: letter!.id } },
    { actor: /^cli:.+@.+/, act: 'dead_letters.discard', target: 'bed-1', details: { discarded: 1, device: 'bed-1' } }
  ))

  t.match(await run('erase', '--device', 'bed-1', '--yes', ...as('operator')), { status: 1, stderr: /does not allow this/ })
  t.match(await query('select count(*)::int as n from readings'), exactly({ n: 2 }))
  t.match(await run('erase', '--device', 'bed-1', '--yes', ...as('admin')), { status: 0, stdout: /^readings +2/m })
  t.match(await query('select actor from audit_log where act = \'erase\''), exactly({ actor: 'ann' }), 'the administrator is the actor')
})

t.test('faulty credential and certificate files are named', async (t) => {
  const dir = await createTestDir(t)
  const run = (...args: string[]) => runOperated('audit', args, { VITAL_DATA_DIR: dir })
  const file = join(dir, 'file')
  await writeFile(file, 'one\ntwo\n', { mode: 0o600 })
  t.match(await run('--token-file', file), { status: 2, stderr: /must hold one secret on one line/ })
  t.match(await run('--token-file', join(dir, 'none')), { status: 2, stderr: /--token-file .*none cannot be read/ })
  t.match(await run('--ca', file), { status: 2, stderr: /--ca .* holds no certificate/ })
  await writeFile(file, 'secret\n')
  t.match(await run('--token-file', file, '--url', 'http://192.0.2.1:1'), {
    status: 1, stderr: /the secret crosses the network in the clear/
  })
})
