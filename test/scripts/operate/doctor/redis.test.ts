/** The checks of doctor for Redis, and gateways on a Redis with TLS and an ACL user, as in compose and as documented. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { COMMANDS } from '../../../../broker/cluster/keys.ts'
import { COPY_COMMANDS } from '../../../../src/reads/latest-cache/scripts.ts'
import { checkRedis } from '../../../../scripts/operate/doctor/redis.ts'
import { createAuthority } from '../../../helpers/certificates.ts'
import { freePort } from '../../../helpers/free-port.ts'
import { connectClient, startGateway } from '../../../helpers/gateway.ts'
import { spawnGateway } from '../../../helpers/gateway-process.ts'
import { createTestDatabase, createTestDir } from '../../../helpers/postgres.ts'
import { runOperatorScript } from '../../../helpers/operator.ts'
import { ROOT } from '../../../helpers/program.ts'
import { NO_REDIS, startRedis } from '../../../helpers/redis.ts'

/** The rights that scripts/compose/redis/start.sh gives. */
const RIGHTS = (/^echo "user vital on >\$REDIS_PASSWORD (.*)" >>/m
  .exec(readFileSync(join(ROOT, 'scripts/compose/redis/start.sh'), 'utf8')) ?? [])[1]!.split(' ')

async function look (redisUrl: string, hasCopy = false) {
  const findings = await checkRedis({ redisUrl, latestCacheUrl: hasCopy ? redisUrl : null })
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]))
}

/** @returns the URL with a user that has these rights */
async function addUser (t: Test, url: string, client: Redis, rights: readonly string[]) {
  t.equal(await client.call('ACL', 'SETUSER', 'vital', 'reset', 'on', '>swordfish', ...rights), 'OK')
  return Object.assign(new URL(url), { username: 'vital', password: 'swordfish' }).href
}

for (const [folder, commands] of Object.entries({ 'broker/cluster': COMMANDS, 'src/reads/latest-cache': COPY_COMMANDS })) {
  t.test(`the list of commands equals that of the sources: ${folder}`, (t) => {
    const path = join(ROOT, folder)
    const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
    const sources = names.filter((name) => name !== 'keys.ts').map((name) => readFileSync(join(path, name), 'utf8'))
    const called = sources.flatMap((text) => [...text.matchAll(/(?:redis\.call\(|\bcall\(|\[)'([A-Z]{3,})'/g)].map(([, name]) => name!))
    t.ok(called.length > 50)
    t.strictSame([...new Set(called)].sort(), commands.map((command) => command.split(' ')[0]!).filter((name) => name !== 'CLIENT').sort())
    t.end()
  })
}

t.test('a correct Redis passes, and settings that weaken it are warnings', { skip: NO_REDIS }, async (t) => {
  t.strictSame(await checkRedis({ redisUrl: null, latestCacheUrl: null }), [], 'nothing without REDIS_URL')
  const { url, client } = await startRedis(t)
  t.match(await look(url), {
    redis: { status: 'ok', text: /^Redis \d+\.\d+\.\d+ of REDIS_URL answers in \d+\.\d ms$/ },
    'redis TLS': { status: 'ok', text: 'none needed: 127.0.0.1' },
    'redis memory': { status: 'ok', text: /^maxmemory-policy noeviction; \d+ MiB used of all/ },
    'redis disk': { status: 'ok' },
    'redis rights': { status: 'ok', text: 'its user may call what gateways call' }
  })
  t.strictSame(await client.dbsize(), 0, 'nothing was written')
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  await client.config('SET', 'appendonly', 'no')
  t.match(await look(url), {
    'redis memory': { status: 'warn', text: /allkeys-lru/, advice: /CONFIG SET maxmemory-policy noeviction/ },
    'redis disk': { status: 'warn', advice: /CONFIG SET appendonly yes/ }
  })
  await client.call('REPLICAOF', '127.0.0.1', String(await freePort()))
  t.match(await look(url), { redis: { status: 'FAIL', text: /is a replica/, advice: 'name its primary' } })
  t.match(await look('redis://127.0.0.1:1'), { redis: { status: 'FAIL', text: /does not answer: .*ECONNREFUSED/, advice: /start it/ } })
})

t.test('missing rights of the user are a FAIL', { skip: NO_REDIS }, async (t) => {
  const { url, client } = await startRedis(t)
  const own = await addUser(t, url, client, RIGHTS)
  t.match(await look(own), { redis: { status: 'ok' }, 'redis rights': { status: 'ok' } }, 'the rights that compose gives are enough')
  t.match(await look(own, true), { 'redis rights': { status: 'ok' } }, 'also for the copy of the latest states')
  t.match(await look(own.replace('swordfish', 'hammer')),
    { redis: { status: 'FAIL', text: /refuses the login: WRONGPASS/, advice: /redis:\/\/USER:PASSWORD@HOST/ } })
  t.notMatch(JSON.stringify(await look(own.replace('swordfish', 'hammer'))), /hammer/, 'no password in the findings')
  await addUser(t, url, client, [...RIGHTS, '-xadd', '-hset'])
  t.match(await look(own), { 'redis rights': { status: 'FAIL', text: 'the user of REDIS_URL may not call HSET, XADD on vital:*' } })
  await addUser(t, url, client, [...RIGHTS, '-evalsha', '-script'])
  t.match(await look(own), { 'redis rights': { status: 'ok' } }, 'only the copy of the latest states needs these')
  t.match(await look(own, true), { 'redis rights': { status: 'FAIL', text: /may not call EVALSHA, SCRIPT on/ } })
  await addUser(t, url, client, [...RIGHTS, 'resetkeys', '~other:*'])
  t.match(await look(own), { 'redis rights': { status: 'FAIL', text: /may not call GET, SET, DEL/ } })
  await addUser(t, url, client, [...RIGHTS, '-info'])
  t.match(await look(own), { 'redis rights': { status: 'FAIL', text: /refuses INFO/, advice: /^ACL SETUSER NAME ~vital:\* .* \+info$/ } })
  await client.config('SET', 'requirepass', 'x')
  t.match(await look(url), { redis: { status: 'FAIL', text: /refuses the login: NOAUTH/ } })
})

t.test('with TLS and an ACL user: doctor, and two gateways that share sessions', { skip: NO_REDIS, timeout: 60_000 }, async (t) => {
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const tlsPort = await freePort()
  const { url, client } = await startRedis(t, [
    '--tls-port', String(tlsPort), '--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', authority.ca,
    '--tls-auth-clients', 'no'
  ])
  const plain = await addUser(t, url, client, RIGHTS)
  const own = plain.replace('redis:', 'rediss:').replace(/127\.0\.0\.1:\d+/, `localhost:${tlsPort}`)
  t.match(await look(own), {
    redis: { status: 'FAIL', text: /^the certificate of Redis is not accepted: /, advice: /NODE_EXTRA_CA_CERTS/ }
  }, 'an unknown certificate authority')
  const { connectionString } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: own, NODE_EXTRA_CA_CERTS: authority.ca }
  const { stdout } = await runOperatorScript(t, 'doctor', [], variables, await createTestDir(t))
  t.match(stdout, /^ok {4}redis {11}Redis .* of REDIS_URL answers/m)
  t.match(stdout, /^ok {4}redis TLS {7}TLS to localhost$/m)
  t.match(stdout, /^ok {4}redis rights {4}its user may call/m)
  const inside = await spawnGateway(t, variables)
  const outside = await startGateway(t, { DATABASE_URL: connectionString, REDIS_URL: plain })
  await inside.said(/^ready$/)
  const nurse = await connectClient(t, inside.lines.find(({ protocol }) => protocol === 'mqtt')!.port!)
  const heard = new Promise((resolve) => { nurse.on('message', (topic) => { resolve(topic) }) })
  await nurse.subscribeAsync('vital/+', { qos: 1 })
  const band = await connectClient(t, outside.mqttPort)
  await band.publishAsync('vital/band', '{"timestamp":1,"heartRateValue":61}', { qos: 1 })
  t.equal(await heard, 'vital/band', 'over Redis')
})
