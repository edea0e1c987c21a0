import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'
import { ROOT } from './program.ts'
import { until } from './until.ts'

/** Debian installs it in a directory that only root's PATH has. */
const PATH = `${process.env['PATH']}:/usr/sbin`

/** Why a test is left out; `false` where it runs. */
export const NO_HAPROXY = spawnSync('haproxy', ['-v'], { env: { PATH } }).status === 0
  ? false
  : 'HAProxy is not installed (apt-get install haproxy)'

/** A shipped configuration file. */
const fileOf = (name: string) => join(ROOT, 'scripts/compose/haproxy', name)

interface HaproxyOptions {
  /** The gateways, in the order of the configuration. */
  readonly gateways: ReadonlyArray<{ readonly mqttPort: number, readonly httpPort: number }>
  /** Adds tls.cfg. */
  readonly tls?: { readonly pemFile: string, readonly clientCaFile: string }
  /** Adds names.cfg, with these options for the server of each gateway. */
  readonly serverOptions?: string
}

/** HAProxy with the shipped configuration, on ports of its own. Settles once it finds all gateways ready; ended with the test. */
export async function startHaproxy (t: Test, { gateways, tls, serverOptions }: HaproxyOptions) {
  const socket = join(await createTestDir(t), 'admin.sock')
  const [mqttPort, httpPort, statsPort, mqttsPort, httpsPort] = [
    await freePort(), await freePort(), await freePort(), await freePort(), await freePort()
  ]
  const env = {
    PATH,
    MQTT_BIND: `127.0.0.1:${mqttPort}`,
    HTTP_BIND: `127.0.0.1:${httpPort}`,
    STATS_BIND: `127.0.0.1:${statsPort}`,
    MQTTS_BIND: `127.0.0.1:${mqttsPort}`,
    HTTPS_BIND: `127.0.0.1:${httpsPort}`,
    HAPROXY_SOCKET: socket,
    HAPROXY_MAXCONN: '500',
    TLS_PEM_FILE: tls?.pemFile ?? '',
    TLS_CLIENT_CA_FILE: tls?.clientCaFile ?? '',
    ...serverOptions !== undefined && { HAPROXY_SERVER_OPTIONS: serverOptions },
    ...Object.fromEntries(gateways.flatMap((gateway, index) => [
      [`GATEWAY_${index + 1}_MQTT_PORT`, String(gateway.mqttPort)], [`GATEWAY_${index + 1}_HTTP_PORT`, String(gateway.httpPort)]
    ]))
  }
  const names = ['haproxy.cfg', ...tls === undefined ? [] : ['tls.cfg'], ...serverOptions === undefined ? [] : ['names.cfg']]
  const files = names.flatMap((name) => ['-f', fileOf(name)])
  execFileSync('haproxy', ['-c', '-q', ...files], { env, stdio: 'inherit' })
  const child = spawn('haproxy', ['-db', ...files], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const log: string[] = []
  for (const output of [child.stdout, child.stderr]) output.on('data', (chunk: Buffer) => { log.push(chunk.toString()) })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })

  /** Sends a command to the administration socket. @returns the answer */
  async function command (line: string): Promise<string> {
    return await text(connect(socket).end(`${line}\n`))
  }

  /** `UP`, `DOWN` or `DRAIN` by server of a backend. While checks are changing a state, HAProxy appends their count. */
  async function states (backend: 'mqtt_gateways' | 'http_gateways'): Promise<Record<string, string>> {
    const rows = (await command('show stat')).split('\n').map((row) => row.split(','))
    const at = rows[0]!.indexOf('status')
    return Object.fromEntries(rows
      .filter(([name, server]) => name === backend && server !== 'BACKEND')
      .map((row) => [row[1]!, row[at]!]))
  }

  await until(async () => {
    if (child.exitCode !== null) throw new Error(`HAProxy ended: ${log.join('')}`)
    const all = { ...await states('http_gateways'), ...await states('mqtt_gateways') }
    return Object.values(all).filter((state) => state === 'UP').length === gateways.length
  }, `HAProxy finds ${gateways.length} gateways`)
  return { mqttPort, httpPort, mqttsPort, httpsPort, httpUrl: `http://127.0.0.1:${httpPort}`, statsPort, command, states, log }
}
