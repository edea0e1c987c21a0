/**
 * The parts that the profile `scale` adds to `several`, without containers: three Kafka brokers with the shipped files, their
 * topics, gateways and sinks with the settings of compose, and each query of the dashboard of the log.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { freePort } from '../../helpers/free-port.ts'
import { connectClient, startGateway } from '../../helpers/gateway.ts'
import { isOnKafkaNode, THROUGH } from '../../helpers/kafka.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { LOADER, ROOT } from '../../helpers/program.ts'
import { NO_PROMETHEUS, startPrometheus } from '../../helpers/prometheus.ts'
import { until } from '../../helpers/until.ts'
import { startSink } from '../../sink/rig.ts'
import { log, queriesOf } from './dashboards.ts'
import { copyPrometheusFiles } from './prometheus-files.ts'

const KAFKA_DIR = join(ROOT, 'scripts/compose/kafka')
const PASSWORD = 'swordfish'

type Variables = Readonly<Record<string, string>>
const { services } = parse(await readFile(join(ROOT, 'compose.yaml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
  services: Record<string, { readonly environment?: Readonly<Record<string, string | number>> }>
}

/** The settings of Kafka that compose gives a service. */
const kafkaOf = (service: string): Variables => Object.fromEntries(Object.entries(services[service]!.environment ?? {})
  .filter(([name, value]) => /^KAFKA_|^VITAL_JOURNAL$/.test(name) && !/^\$\{/.test(String(value)))
  .map(([name, value]) => [name, String(value)]))

async function isOpen (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    return await once(socket, 'connect').then(() => true, () => false)
  } finally {
    socket.destroy()
  }
}

/** The three brokers of compose, on ports of their own. */
async function startBrokers (t: Test) {
  const dir = await createTestDir(t)
  const nodes = await Promise.all(['kafka-1', 'kafka-2', 'kafka-3'].map(async (name) =>
    ({ name, port: await freePort(), controllerPort: await freePort() })))
  /** Replaces names and ports of containers by addresses of this machine. */
  const toLocal = (text: string) => nodes.reduce((some, { name, port, controllerPort }) =>
    some.replace(`${name}:9092`, `127.0.0.1:${port}`).replace(`${name}:9093`, `127.0.0.1:${controllerPort}`), text)
  const children = nodes.map(({ name, port, controllerPort }) => {
    const variables = kafkaOf(name)
    const [command = '', ...args] = [...THROUGH, 'sh', join(KAFKA_DIR, 'start.sh')]
    const child = spawn(command, args, {
      stdio: 'ignore',
      env: {
        PATH: process.env['PATH'],
        ...variables,
        KAFKA_PASSWORD: PASSWORD,
        KAFKA_HOST: '127.0.0.1',
        KAFKA_BIND: '127.0.0.1',
        KAFKA_PORT: String(port),
        KAFKA_CONTROLLER_PORT: String(controllerPort),
        KAFKA_VOTERS: toLocal(variables['KAFKA_VOTERS'] ?? ''),
        KAFKA_DATA_DIR: join(dir, name),
        KAFKA_JARS: process.env['VITAL_TEST_KAFKA_JARS'],
        KAFKA_HEAP_OPTS: '-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'
      }
    })
    return { child, exited: once(child, 'exit') }
  })
  t.teardown(async () => {
    for (const { child } of children) child.kill('SIGKILL')
    await Promise.all(children.map(({ exited }) => exited))
  })
  await until(async () => {
    if (children.some(({ child }) => child.exitCode !== null)) throw new Error('a broker ended')
    await sleep(200)
    return (await Promise.all(nodes.map(({ port }) => isOpen(port)))).every(Boolean)
  }, 'three brokers to listen', 120_000)
  return { toLocal, kill (index: number) { children[index]!.child.kill('SIGKILL') } }
}

/** Runs topics.sh as compose does. @returns its variables, without the password */
async function makeTopics (t: Test, toLocal: (text: string) => string) {
  const dir = await createTestDir(t)
  const program = join(dir, 'vital-gateway')
  await writeFile(program, `#!/bin/sh\nexec ${[process.execPath, ...LOADER, join(ROOT, 'scripts/vital-gateway.ts')].join(' ')} "$@"\n`)
  await chmod(program, 0o755)
  const { KAFKA_BROKERS = '', ...variables } = kafkaOf('topics')
  const client = { ...variables, KAFKA_BROKERS: toLocal(KAFKA_BROKERS), KAFKA_SASL_PASSWORD_FILE: join(dir, 'secret') }
  const run = async (env: Variables) => await promisify(execFile)('sh', [join(KAFKA_DIR, 'topics.sh')], {
    cwd: ROOT, env: { PATH: `${dir}:${process.env['PATH']}`, ...env }
  })
  await t.rejects(run(client), /set KAFKA_PASSWORD in \.env/)
  const { stdout } = await run({ ...client, KAFKA_PASSWORD: PASSWORD })
  t.match(stdout, /vital\.readings: made, with 12 partitions of 3 replicas/)
  t.equal(await readFile(client.KAFKA_SASL_PASSWORD_FILE, 'utf8'), PASSWORD)
  return client
}

// Three brokers take half a minute to start on two busy cores.
t.setTimeout(240_000)

if (await isOnKafkaNode(t, import.meta.filename)) {
  t.test('all parts together, a killed broker, and every query of the dashboard of the log', {
    skip: NO_PROMETHEUS, timeout: 240_000
  }, async (t) => {
    const { connectionString, query } = await createTestDatabase(t)
    const brokers = await startBrokers(t)
    const client = await makeTopics(t, brokers.toLocal)
    const variables = { ...client, DATABASE_URL: connectionString, VITAL_JOURNAL: kafkaOf('gateway-1-scale')['VITAL_JOURNAL'] ?? '' }
    const gateways = [await startGateway(t, variables), await startGateway(t, variables)]
    // A sink gets all variables of a gateway.
    const start = () => startSink(t, { kafka: { brokers: client.KAFKA_BROKERS } }, connectionString, { variables })
    const sinks = [await start(), await start()]
    const configFile = await copyPrometheusFiles(await createTestDir(t), {
      secret: 'none',
      name: 'several.yml',
      hasSinks: true,
      targets: {
        'gateway-1:3000': `127.0.0.1:${gateways[0]!.httpPort}`,
        'gateway-2:3000': `127.0.0.1:${gateways[1]!.httpPort}`,
        'sink-1:3000': new URL(sinks[0]!.url).host,
        'sink-2:3000': new URL(sinks[1]!.url).host,
        'scrape_interval: 5s': 'scrape_interval: 1s',
        'scrape_timeout: 4s': 'scrape_timeout: 1s'
      }
    })
    const prometheus = await startPrometheus(t, configFile)
    let sent = 0
    const publish = async (count: number) => {
      const timestamp = Date.now() / 1000
      await Promise.all(gateways.map(async ({ mqttPort }, gateway) => {
        const device = await connectClient(t, mqttPort, { clientId: `band-${sent}-${gateway}` })
        await Promise.all(Array.from({ length: count }, (_, n) => device.publishAsync(`vital/band-${gateway}-${n}`,
          JSON.stringify({ timestamp, heartRateValue: 61, batch: sent }), { qos: 1 })))
        await device.endAsync()
      }))
      sent += count * gateways.length
    }
    const isStored = async () => (await query('select from readings')).length === sent
    await publish(50)
    await until(isStored, 'sinks to store all acknowledged readings')
    brokers.kill(1)
    await publish(50)
    await until(isStored, 'sinks to store them with one broker less, too', 60_000)

    const scraped = 'count(count_over_time(up{job=~"vital-.*"}[1m]) >= 5) == 4'
    await until(async () => (await prometheus.query(scraped)).length === 1, 'Prometheus to scrape all four')
    t.strictSame((await prometheus.query('up == 1')).map(({ metric }) => metric['job']).sort(),
      ['vital-gateway', 'vital-gateway', 'vital-sink', 'vital-sink'])
    const queries = queriesOf('expr', log)
    for (const { title, query: expr } of queries) {
      t.ok((await prometheus.query(expr.replaceAll('$__rate_interval', '10s'))).length > 0, `${title}: ${expr}`)
    }
    const stat = async (wanted: string) =>
      (await prometheus.query(queries.find(({ title }) => title === wanted)!.query)).map(({ value }) => value)
    t.strictSame(await Promise.all(['Sinks', 'Records that wait', 'Stopped partitions', 'Topic faults'].map(stat)), [[2], [0], [0], [0]])
    t.strictSame((await prometheus.query('count by (instance, topic) (vital_sink_lag_records)')).map(({ value }) => value), [6, 6, 6, 6],
      'each sink has half of the partitions of each topic')
  })
}
