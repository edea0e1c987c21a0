/** Brokers of Kafka from Maven's jars, as tests and chaos start them: on loopback, without TLS and without a login. */
import { join } from 'node:path'

/** The id of a cluster, the same in each of its brokers. */
export const KAFKA_CLUSTER_ID = 'dGVzdC1jbHVzdGVyLWlkMA'

/** Options that are quick for a broker that runs for minutes. */
const JVM = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto']

/** Where a broker listens, for clients and for the other brokers. */
export interface BrokerPorts {
  readonly port: number
  readonly controllerPort: number
}

interface BrokerOptions {
  readonly dir: string
  /** From 1. */
  readonly id: number
  /** Of all brokers of the cluster, by their ids. */
  readonly cluster: readonly BrokerPorts[]
}

/** Arguments of `java` before the class to run. @param jars - a folder */
export function toJavaArgs (jars: string, { heapMiB, logConfig }: { readonly heapMiB: number, readonly logConfig: string }): string[] {
  return [`-Xmx${heapMiB}m`, ...JVM, `-Dlog4j2.configurationFile=${logConfig}`, '-cp', `${jars}/*`]
}

/** Settings of a broker that is its own controller. Topics have as many replicas as there are brokers. */
export function toBrokerProperties ({ dir, id, cluster }: BrokerOptions): Record<string, string> {
  const { port, controllerPort } = cluster[id - 1]!
  const replicas = String(cluster.length)
  const inSyncMin = String(Math.min(2, cluster.length))
  return {
    'process.roles': 'broker,controller',
    'node.id': String(id),
    'controller.quorum.voters': cluster.map((other, index) => `${index + 1}@127.0.0.1:${other.controllerPort}`).join(','),
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': join(dir, 'data'),
    'num.partitions': '6',
    'default.replication.factor': replicas,
    'min.insync.replicas': inSyncMin,
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '8',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSyncMin,
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSyncMin,
    'group.initial.rebalance.delay.ms': '0',
    // A broker that was killed may register again only once its former session has ended.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'auto.create.topics.enable': 'false',
    'unclean.leader.election.enable': 'false'
  }
}

/** Kafka misses a killed member of a consumer group within seconds, and moves its partitions at once. */
export const QUICK_GROUPS = {
  'group.consumer.min.session.timeout.ms': '2000',
  'group.consumer.session.timeout.ms': '2500',
  'group.consumer.min.heartbeat.interval.ms': '300',
  'group.consumer.heartbeat.interval.ms': '300'
}

/** The text of a properties file. */
export const toPropertiesText = (properties: Readonly<Record<string, string>>): string =>
  Object.entries(properties).map(([name, value]) => `${name}=${value}\n`).join('')
