import type { Redis } from 'ioredis'
import packageJson from '../../../package.json' with { type: 'json' }
import { COMMANDS } from '../../../broker/cluster/keys.ts'
import { isTooOld } from '../../../broker/cluster/redis/redis-facts.ts'
import type { Config } from '../../../src/config/config.ts'
import { COPY_COMMANDS } from '../../../src/reads/latest-cache/scripts.ts'
import { isLoopback } from '../../../src/transport/transport-config.ts'
import { fail, type Finding, ok, toMessage, toSize, warn } from './finding.ts'

const TIMEOUT_MS = 5000
const RIGHTS_ADVICE = 'ACL SETUSER NAME ~vital:* +@read +@write +@connection -@dangerous +eval +evalsha +script|load +time +info'

type Facts = ReadonlyMap<string, string>

/** The Redis of several gateways; nothing without `REDIS_URL`. It writes nothing there. */
export async function checkRedis ({ redisUrl, latestCacheUrl }: Pick<Config, 'redisUrl' | 'latestCacheUrl'>): Promise<Finding[]> {
  if (redisUrl === null) return []
  const client = await connect(redisUrl)
  if (!('redis' in client)) return [client]
  const { redis } = client
  try {
    const startedAtMs = performance.now()
    await redis.ping()
    const answeredMs = performance.now() - startedAtMs
    const info = await redis.info().catch((error: unknown) => error as Error)
    if (info instanceof Error) return [fail('redis rights', `Redis answers, and refuses INFO: ${info.message}`, RIGHTS_ADVICE)]
    const facts: Facts = new Map([...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name = '', value = '']) => [name, value]))
    return [
      ...checkServer(facts, answeredMs),
      checkEncryption(redisUrl),
      ...checkMemory(facts),
      checkPersistence(facts),
      await checkRights(redis, latestCacheUrl === null ? COMMANDS : [...new Set([...COMMANDS, ...COPY_COMMANDS])])
    ]
  } catch (error) {
    return [fail('redis', `Redis of REDIS_URL does not answer: ${toMessage(error)}`, 'start it, or correct REDIS_URL')]
  } finally {
    redis.disconnect()
  }
}

/** @returns a finding when it cannot be connected */
async function connect (url: string): Promise<{ readonly redis: Redis } | Finding> {
  const check = 'redis'
  const library = await import('ioredis').catch(() => null)
  if (library === null) {
    return fail(check, 'the package of REDIS_URL is not installed', `npm install ioredis@${packageJson.peerDependencies.ioredis}`)
  }
  const redis = new library.Redis(url, {
    lazyConnect: true,
    connectTimeout: TIMEOUT_MS,
    commandTimeout: TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    // That check calls INFO, which the user may not be allowed to call.
    enableReadyCheck: false
  })
  let reason: Error | null = null
  redis.on('error', (error: Error) => { reason ??= error })
  try {
    await redis.connect()
    // Only now has the login been answered.
    await redis.ping()
    return { redis }
  } catch (error) {
    redis.disconnect()
    return toConnectFinding(reason ?? error as Error)
  }
}

function toConnectFinding (error: Error & { readonly code?: string }): Finding {
  const check = 'redis'
  const { code = '', message } = error
  if (/^WRONGPASS|^NOAUTH|^NOPERM/.test(message)) {
    return fail(check, `Redis of REDIS_URL refuses the login: ${message}`,
      'put user and password of its ACL into REDIS_URL: redis://USER:PASSWORD@HOST')
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) {
    return fail(check, `the certificate of Redis is not accepted: ${message}`,
      'use the name in the certificate, and name its authority in NODE_EXTRA_CA_CERTS=FILE, which Node.js reads')
  }
  return fail(check, `Redis of REDIS_URL does not answer: ${message === '' ? code : message}`,
    'start it, or correct REDIS_URL (rediss:// where it wants TLS)')
}

function checkServer (facts: Facts, answeredMs: number): Finding[] {
  const check = 'redis'
  const version = facts.get('redis_version') ?? '0'
  if (isTooOld(version)) return [fail(check, `Redis is ${version}`, 'install 6.2 or later')]
  if (facts.get('redis_mode') === 'cluster') {
    return [fail(check, 'Redis of REDIS_URL is a Redis Cluster, which is not supported', 'name one Redis, with replicas if wanted')]
  }
  if (facts.get('role') === 'slave') return [fail(check, 'Redis of REDIS_URL is a replica, and takes no writes', 'name its primary')]
  return [ok(check, `Redis ${version} of REDIS_URL answers in ${answeredMs.toFixed(1)} ms`)]
}

function checkEncryption (url: string): Finding {
  const check = 'redis TLS'
  const { protocol, hostname, password } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  if (protocol === 'rediss:') return ok(check, `TLS to ${host}`)
  if (isLoopback(host)) return ok(check, `none needed: ${host}`)
  const what = password === '' ? 'messages cross' : 'messages and the password cross'
  return warn(check, `${what} the network to ${host} unencrypted`, 'give Redis a certificate, and write rediss:// in REDIS_URL')
}

function checkMemory (facts: Facts): Finding[] {
  const check = 'redis memory'
  const policy = facts.get('maxmemory_policy') ?? 'unknown'
  const bound = Number(facts.get('maxmemory') ?? 0)
  const used = `${toSize(Number(facts.get('used_memory') ?? 0))} used of ${bound === 0 ? 'all that the machine has' : toSize(bound)}`
  if (policy === 'noeviction') return [ok(check, `maxmemory-policy noeviction; ${used}`)]
  return [warn(check, `maxmemory-policy ${policy}: when it is full, Redis drops sessions silently; ${used}`,
    'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf')]
}

function checkPersistence (facts: Facts): Finding {
  const check = 'redis disk'
  const isFailing = ['aof_last_write_status', 'aof_last_bgrewrite_status'].find((name) => facts.get(name) === 'err')
  if (facts.get('aof_enabled') !== '1') {
    return warn(check, 'appendonly is off: sessions of gateways that are down are lost when Redis restarts',
      'CONFIG SET appendonly yes, and the same in redis.conf')
  }
  if (isFailing !== undefined) return warn(check, `Redis cannot write its append-only file (${isFailing}:err)`, 'see its log, and its disk')
  return ok(check, 'appendonly is on')
}

/**
 * Whether the user of REDIS_URL may run the commands of gateways, on their keys. Redis judges each command without
 * running it (`redis.acl_check_cmd`); before 7.0 it cannot.
 */
async function checkRights (redis: Redis, commands: readonly string[]): Promise<Finding> {
  const check = 'redis rights'
  const script = `
    if not redis.acl_check_cmd then return false end
    local refused = {}
    for at = 1, #ARGV do
      local words = {}
      for word in string.gmatch(ARGV[at], '%S+') do words[#words + 1] = word end
      if not redis.acl_check_cmd(unpack(words)) then refused[#refused + 1] = words[1] end
    end
    return refused`
  const refused = await redis.eval(script, 0, ...commands).catch((error: unknown) => error as Error)
  if (refused instanceof Error) return fail(check, `Redis refuses EVAL: ${refused.message}`, RIGHTS_ADVICE)
  if (refused === null) return ok(check, 'EVAL is allowed; Redis before 7.0 cannot check the other commands')
  const names = refused as string[]
  if (names.length > 0) return fail(check, `the user of REDIS_URL may not call ${names.join(', ')} on vital:*`, RIGHTS_ADVICE)
  return ok(check, 'its user may call what gateways call')
}
