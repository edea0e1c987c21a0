/**
 * The parts that the profile `flink` adds to `scale`, without containers: Flink with the settings of compose, on a Kafka broker that
 * asks for a password, its health check, and its metrics in Prometheus.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { runCommandLine } from '../../helpers/command-line.ts'
import { NO_FLINK, prepareTables, startFlink } from '../../helpers/flink.ts'
import { freePort } from '../../helpers/free-port.ts'
import { startGateway } from '../../helpers/gateway.ts'
import { isOnKafkaNode, THROUGH } from '../../helpers/kafka.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { ROOT } from '../../helpers/program.ts'
import { NO_PROMETHEUS, startPrometheus } from '../../helpers/prometheus.ts'
import { until } from '../../helpers/until.ts'
import { copyPrometheusFiles } from './prometheus-files.ts'

const SLOW_MS = 120_000
const PASSWORD = 'swordfish'

interface Service {
  readonly environment: Readonly<Record<string, string | number>>
  readonly healthcheck: { readonly test: readonly string[] }
}

const { services } = parse(await readFile(join(ROOT, 'compose.yaml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
  readonly services: { readonly flink: Service }
}

/** One broker with the shipped files. @returns the variables of its clients */
async function startBroker (t: Test) {
  const dir = await createTestDir(t)
  const [port, controllerPort] = [await freePort(), await freePort()]
  const [command = '', ...args] = [...THROUGH, 'sh', join(ROOT, 'scripts/compose/kafka/start.sh')]
  const child = spawn(command, args, {
    stdio: 'ignore',
    env: {
      PATH: process.env['PATH'],
      KAFKA_NODE_ID: '1',
      KAFKA_PASSWORD: PASSWORD,
      KAFKA_PORT: String(port),
      KAFKA_CONTROLLER_PORT: String(controllerPort),
      KAFKA_VOTERS: `1@127.0.0.1:${controllerPort}`,
      KAFKA_DATA_DIR: join(dir, 'data'),
      KAFKA_JARS: process.env['VITAL_TEST_KAFKA_JARS'],
      KAFKA_HEAP_OPTS: '-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'
    }
  })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const secret = join(dir, 'secret')
  await writeFile(secret, PASSWORD)
  const { KAFKA_SASL_MECHANISM = '', KAFKA_SASL_USERNAME = '' } = services.flink.environment
  return {
    KAFKA_BROKERS: `127.0.0.1:${port}`,
    KAFKA_SASL_MECHANISM: String(KAFKA_SASL_MECHANISM),
    KAFKA_SASL_USERNAME: String(KAFKA_SASL_USERNAME),
    KAFKA_SASL_PASSWORD_FILE: secret
  }
}

async function run (): Promise<void> {
  t.setTimeout(400_000)
  t.test('Flink counts acknowledged readings, is healthy, and lists readings that it left out', {
    skip: NO_PROMETHEUS, timeout: 400_000
  }, async (t) => {
    const { connectionString, query } = await createTestDatabase(t)
    await prepareTables(connectionString)
    const client = await startBroker(t)
    await until(async () => (await runCommandLine(['topics', 'make', '--replicas', '1', '--averages'], client)).status === 0,
      'topics to be created', SLOW_MS)
    const gateway = await startGateway(t, {
      ...client, DATABASE_URL: connectionString, VITAL_JOURNAL: 'kafka', VITAL_KAFKA_ALLOW_WEAK: 'true'
    })
    const { FLINK_LATENESS_S = '', FLINK_DATABASE_USER = '' } = services.flink.environment
    const flink = await startFlink(t, {
      brokers: client.KAFKA_BROKERS,
      connectionString,
      variables: { ...client, FLINK_LATENESS_S: String(FLINK_LATENESS_S), FLINK_DATABASE_USER: String(FLINK_DATABASE_USER) }
    })
    const nowS = Math.floor(Date.now() / 1000)
    for (const timestamp of [nowS, nowS - 2 * Number(FLINK_LATENESS_S)]) {
      const { status } = await fetch(`${gateway.httpUrl}/vital-data`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ device: 'band-1', timestamp, heartRateValue: 61 })
      })
      t.equal(status, 202)
    }
    await until(async () => (await query('select from flink.averages_5m')).length === 1, 'one reading to be counted', SLOW_MS)
    await until(async () => (await query('select from flink.left_out where reason = \'late\'')).length === 1, 'the late one to be listed')

    const [kind, command = ''] = services.flink.healthcheck.test
    t.equal(kind, 'CMD-SHELL')
    t.match(command, '/var/lib/flink/')
    const isHealthy = (dir: string) =>
      promisify(execFile)('sh', ['-c', command.replace('/var/lib/flink', dir)]).then(() => true, () => false)
    await until(() => isHealthy(flink.stateDir), 'the health check to find a checkpoint')
    t.notOk(await isHealthy(await createTestDir(t)), 'and none where there is none')

    const configFile = await copyPrometheusFiles(await createTestDir(t), {
      secret: 'none',
      name: 'several.yml',
      targets: {
        'dns_sd_configs:\n      - names: [flink]\n        type: A\n        port: 9249':
          `static_configs:\n      - targets: ['${new URL(flink.metricsUrl).host}']`,
        'scrape_interval: 5s': 'scrape_interval: 1s',
        'scrape_timeout: 4s': 'scrape_timeout: 1s'
      }
    })
    const prometheus = await startPrometheus(t, configFile)
    for (const expr of [
      'up{job="vital-flink"} == 1',
      'increase(flink_jobmanager_job_numberOfCompletedCheckpoints{job="vital-flink"}[10m]) > 0',
      'sum(flink_taskmanager_job_task_operator_numRecordsIn{job="vital-flink",operator_name=~".*left_out.*"}) > 0'
    ]) await until(async () => (await prometheus.query(expr)).length > 0, expr)
  })
}

if (NO_FLINK !== false) t.pass(`left out: ${NO_FLINK}`, { skip: NO_FLINK })
else if (await isOnKafkaNode(t, import.meta.filename)) await run()
