/** TLS and logins, without Kafka. */
import { createServer } from 'node:https'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { EXPORT_LIMITS } from '../../src/export/limits.ts'
import { createTarget } from '../../src/export/target.ts'
import { createAuthority } from '../helpers/certificates.ts'
import { freePort } from '../helpers/free-port.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { NO_INFLUXDB, startInfluxDb } from '../helpers/time-series.ts'

const LINES = gzipSync('vital,device=d,logPartition=0 heartRateValue=61 1\n')

async function toTarget (t: Test, variables: Record<string, string>, limits = EXPORT_LIMITS) {
  const target = await createTarget({ config: createConfig(variables).timeSeries!, limits })
  t.teardown(() => { target.close() })
  return target
}

/** A proxy that terminates TLS before a server on a port. @returns the requests, as they came */
async function startTls (t: Test, port: string) {
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const seen: Array<{ url: string, authorization: string | undefined }> = []
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (asked, answer) => {
    const { url = '', method, headers } = asked
    seen.push({ url, authorization: headers.authorization })
    asked.pipe(request({ port, path: url, method, headers }, (response) => {
      answer.writeHead(response.statusCode!, response.headers)
      response.pipe(answer)
    }))
  })
  const own = await freePort()
  await new Promise<void>((resolve) => { server.listen(own, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `https://localhost:${own}`, ca: authority.ca, seen }
}

t.test('a user, over TLS', { skip: NO_INFLUXDB }, async (t) => {
  const influx = await startInfluxDb(t, '', 'auth-enabled = true')
  await influx.command('create user ann with password \'it is secret\' with all privileges')
  const answer = await fetch(`${influx.url}/query?u=ann&p=it%20is%20secret`, {
    method: 'POST', body: new URLSearchParams({ q: 'create database vital' })
  })
  t.equal(answer.status, 200)
  const { url, ca } = await startTls(t, new URL(influx.url).port)
  const password = join(await createTestDir(t), 'password')
  await writeFile(password, 'it is secret\n')
  const login = { VITAL_EXPORT_USERNAME: 'ann', VITAL_EXPORT_PASSWORD_FILE: password }

  const target = await toTarget(t, { VITAL_EXPORT_URL: url, VITAL_EXPORT_TLS_CA_FILE: ca, ...login })
  t.equal(await target.write(LINES), 0)
  t.equal(await target.erase('d', 0), true)
  await writeFile(password, 'wrong')
  await t.rejects(target.write(LINES), { code: 'VITAL_EXPORT_AWAY', message: /^it answers 401: authorization failed$/ })
  const nobody = await toTarget(t, { VITAL_EXPORT_URL: url, VITAL_EXPORT_TLS_CA_FILE: ca })
  await t.rejects(nobody.write(LINES), { message: /^it answers 401: unable to parse authentication credentials$/ })
  const distrustful = await toTarget(t, { VITAL_EXPORT_URL: url, ...login })
  await t.rejects(distrustful.write(LINES), { code: 'VITAL_EXPORT_AWAY', message: /^it does not answer: .*certificate/ })
  const lost = await toTarget(t, { VITAL_EXPORT_URL: url, VITAL_EXPORT_TLS_CA_FILE: ca, ...login, VITAL_EXPORT_PASSWORD_FILE: '/nowhere' })
  await t.rejects(lost.write(LINES), { message: /^VITAL_EXPORT_PASSWORD_FILE=\/nowhere cannot be read/ })
  await t.rejects(toTarget(t, { VITAL_EXPORT_URL: url, VITAL_EXPORT_TLS_CA_FILE: '/nowhere' }), { code: 'VITAL_CONFIG_INVALID' })
})

t.test('a token is sent in its header, and InfluxDB 2 and 3 are asked at their own paths', { skip: NO_INFLUXDB }, async (t) => {
  const influx = await startInfluxDb(t)
  const { url, ca, seen } = await startTls(t, new URL(influx.url).port)
  const token = join(await createTestDir(t), 'token')
  await writeFile(token, 'abc\n')
  const variables = { VITAL_EXPORT_URL: url, VITAL_EXPORT_TLS_CA_FILE: ca, VITAL_EXPORT_TOKEN_FILE: token }
  // InfluxDB 1.6 does not have the API of 2.
  const second = await toTarget(t, { ...variables, VITAL_EXPORT_KIND: 'influxdb2', VITAL_EXPORT_ORG: 'ward' })
  await t.rejects(second.write(LINES), { code: 'VITAL_EXPORT_AWAY', message: /^it answers 404/ })
  const third = await toTarget(t, { ...variables, VITAL_EXPORT_KIND: 'influxdb3', VITAL_EXPORT_DATABASE: 'd' })
  await t.rejects(third.write(LINES), { message: /^it answers 404/ })
  t.equal(await third.erase('d', 0), false)
  t.same(seen, [
    { url: '/api/v2/write?org=ward&bucket=vital&precision=ns', authorization: 'Token abc' },
    { url: '/api/v2/write?bucket=d&precision=ns', authorization: 'Bearer abc' }
  ])
})
