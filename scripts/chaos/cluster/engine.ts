import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Belongings } from '../../harness/belongings.ts'
import { root } from '../../harness/compile.ts'
import { createEngine } from '../../harness/engine.ts'

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** What is missing for `--cluster`, and how to get it; `null`: nothing. */
export function findObstacle (): string | null {
  const missing = [['haproxy', '-v', 'haproxy'], ['redis-server', '--version', 'redis-server']]
    .filter(([program = '', flag = '']) => spawnSync(program, [flag], { env: { PATH: SYSTEM_PATH } }).status !== 0)
    .map(([, , name]) => name)
  return missing.length === 0 ? null : `missing: ${missing.join(', ')} (apt-get install ${missing.join(' ')})`
}

interface RedisOptions { readonly belongings: Belongings, readonly dir: string, readonly port: number }

export function createRedis ({ belongings, dir, port }: RedisOptions) {
  const ask = async (line: string) => await text(connect(port, '127.0.0.1').end(`${line}\r\nQUIT\r\n`))
  const engine = createEngine({
    belongings,
    file: 'redis-server',
    // With `everysec` a killed Redis forgets what it acknowledged in its last two seconds.
    args: ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
    dir,
    isUp: async () => (await ask('PING')).startsWith('+PONG')
  })
  return {
    ...engine,
    /** Ends every connection of the gateways. */
    async cutAll (): Promise<void> { await ask('CLIENT KILL TYPE normal') }
  }
}

interface HaproxyOptions {
  readonly belongings: Belongings
  readonly dir: string
  readonly ports: { readonly mqtt: number, readonly http: number, readonly stats: number }
  readonly gateways: ReadonlyArray<{ readonly mqttPort: number, readonly httpPort: number }>
}

/** HAProxy with the shipped configuration. */
export function createHaproxy ({ belongings, dir, ports, gateways }: HaproxyOptions) {
  const socket = join(dir, 'haproxy.sock')
  const ask = async (line: string) => await text(connect(socket).end(`${line}\n`))
  const engine = createEngine({
    belongings,
    file: 'haproxy',
    args: ['-db', '-f', join(root, 'scripts/compose/haproxy/haproxy.cfg')],
    env: {
      MQTT_BIND: `127.0.0.1:${ports.mqtt}`,
      HTTP_BIND: `127.0.0.1:${ports.http}`,
      STATS_BIND: `127.0.0.1:${ports.stats}`,
      HAPROXY_SOCKET: socket,
      HAPROXY_MAXCONN: '1000',
      ...Object.fromEntries(gateways.flatMap(({ mqttPort, httpPort }, index) => [
        [`GATEWAY_${index + 1}_MQTT_PORT`, String(mqttPort)], [`GATEWAY_${index + 1}_HTTP_PORT`, String(httpPort)]
      ]))
    },
    dir,
    isUp: async () => (await ask('show info')).includes('Name: HAProxy')
  })

  /** How many servers take new clients, MQTT and HTTP together. */
  async function countUp (): Promise<number> {
    const rows = (await ask('show stat')).split('\n').map((row) => row.split(','))
    const at = rows[0]!.indexOf('status')
    return rows.filter(([, server = '', ...rest]) => server.startsWith('gateway-') && rest[at - 2] === 'UP').length
  }

  return {
    ...engine,
    countUp,
    /** Ends every connection of MQTT clients at one gateway. */
    async cutAll (gateway: number): Promise<void> { await ask(`shutdown sessions server mqtt_gateways/gateway-${gateway + 1}`) }
  }
}
