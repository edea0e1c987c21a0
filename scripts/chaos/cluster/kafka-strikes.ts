/** Strikes where Kafka stands between the gateways and PostgreSQL. */
import { setTimeout as sleep } from 'node:timers/promises'
import { TOPICS } from '../../../src/kafka/topics.ts'
import { sumMetric } from '../../command-line/prometheus-text.ts'
import { readReadiness } from '../../harness/checks/metrics.ts'
import type { Kafka } from '../../harness/kafka-cluster.ts'
import { cutLog, readLastSegment, toLogDir } from '../../harness/kafka-log-files.ts'
import { until } from '../../harness/until.ts'
import { mountObstacle } from '../rig/tmpfs.ts'
import type { ClusterGateway } from './cluster-gateway.ts'
import { holdReadings } from './hold-readings.ts'
import type { Stage } from './stage.ts'
import { freezeFor, oneOf, restart, type Strike } from './strike.ts'

/** Until followers lead the partitions of a killed broker. */
const ELECTION_MS = 8000
/** Longer than brokers and the group take to notice a lost sink, and shorter than a statement of a sink may take. */
const TAKE_OVER_MS = 8500
const TOLD_MS = 30_000
const ENDED_MS = 20_000
/** From an acknowledgement to the row, of sinks that keep up. */
const STORED_MS = 2000
/** Until the last broker has deleted a topic that is being deleted. */
const DELETED_MS = 2000
/** Of a batch that was being written when the power failed. */
const TORN_BYTES = 60
const PARTITIONS_MORE = 6
const PARTITIONS_MAX = 24

function kafkaOf ({ kafka }: Stage): Kafka {
  if (kafka === null) throw new Error('there is no Kafka')
  return kafka
}

const brokerOf = (stage: Stage) => oneOf(stage, kafkaOf(stage).brokers)
const sinkOf = (stage: Stage) => oneOf(stage, stage.sinks)

async function readMetrics ({ options: { httpPort } }: ClusterGateway): Promise<string> {
  return await (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(5000) })).text()
}

/** Partitions of a sink, as `sink_offsets` names them. */
async function readPlaces (sink: ClusterGateway): Promise<string[]> {
  const lags = (await readMetrics(sink)).matchAll(/^vital_sink_lag_records\{topic="([^"]+)",partition="(\d+)"\}/gm)
  return [...lags].map(([, topic, partition]) => `${topic} ${partition}`)
}

/** How many warnings of the sinks contain `what` now. */
async function countWarnings ({ sinks }: Stage, what: string): Promise<number> {
  const answers = await Promise.all(sinks.map(({ options: { httpPort } }) => readReadiness(httpPort)))
  return answers.flatMap(({ warnings }) => warnings).filter((warning) => warning.includes(what)).length
}

/** Freezes all brokers but the leader, and kills that one: it alone has the latest records. */
async function killLoneLeader (stage: Stage): Promise<void> {
  const kafka = kafkaOf(stage)
  const leader = brokerOf(stage)
  await kafka.lead(kafka.brokers.indexOf(leader) + 1)
  const followers = kafka.brokers.filter((broker) => broker !== leader)
  for (const follower of followers) follower.freeze()
  await sleep(stage.between(500, 1500))
  await leader.kill()
  for (const follower of followers) follower.thaw()
  await sleep(ELECTION_MS)
  await leader.start()
}

/** Freezes a sink while PostgreSQL works at its batch, which goes on once another sink has the partitions. */
async function replaceSink (stage: Stage): Promise<void> {
  const sink = sinkOf(stage)
  const countReplaced = async () => sumMetric(await readMetrics(sink), 'vital_sink_replaced_total')
  const before = await countReplaced()
  const places = await readPlaces(sink)
  const readEpochs = async () => await stage.query<{ epochs: string }>(
    `select string_agg(concat_ws(' ', topic_id, partition, epoch), ',') as epochs from (
       select distinct on (topic, partition) * from sink_offsets
       where concat_ws(' ', topic, partition) = any($1) order by topic, partition, claimed_at desc) as claimed`, [places])
  const [claimed] = await readEpochs()
  const release = await holdReadings(stage.postgres.url)
  // Each sink has a batch then, which waits for the table.
  await until(async () => (await stage.query<{ count: number }>(
    `select count(distinct application_name)::int as count from pg_stat_activity
     where wait_event_type = 'Lock' and application_name like 'vital-sink %'`))[0]!.count === stage.sinks.length, TOLD_MS)
  sink.freeze()
  const isTakenOver = async () => {
    const [now] = await readEpochs()
    const epochs = new Set(claimed!.epochs.split(','))
    return now!.epochs.split(',').every((epoch) => !epochs.has(epoch))
  }
  const tookMs = await until(isTakenOver, TAKE_OVER_MS)
  await release()
  // PostgreSQL goes on with the batch by itself: all of it was sent.
  await sleep(500)
  sink.thaw()
  if (tookMs === null) return
  if (await until(async () => await countReplaced() > before, TOLD_MS) === null) {
    stage.violate('expected', `${sink.options.name} was replaced, and stored a batch all the same`)
  }
}

/**
 * Deletes a topic and creates it again. Stored rows stay, readings that are acknowledged afterwards are stored, and the
 * sinks warn of the loss. Readings that were acknowledged right before may be lost.
 */
async function recreateTopic (stage: Stage): Promise<void> {
  const kafka = kafkaOf(stage)
  const topic = oneOf(stage, TOPICS)
  const readLagS = async () => {
    const texts = await Promise.all(stage.sinks.map(readMetrics))
    return Math.max(...texts.map((text) => sumMetric(text, 'vital_sink_lag_seconds')))
  }
  await until(async () => await readLagS() < STORED_MS / 4000, TOLD_MS)
  const anew = `${topic} was deleted and made again`
  const before = await countWarnings(stage, anew)
  const fromMs = Date.now() - STORED_MS
  await kafka.deleteTopic(topic)
  stage.excused.push({ fromMs, toMs: Date.now() + DELETED_MS })
  if (await until(async () => await countWarnings(stage, topic) > before, TOLD_MS) === null) {
    stage.violate('expected', `no sink says that ${topic} is gone`)
  }
  await sleep(stage.between(0, 5000))
  await kafka.makeTopics(kafka.partitions)
  if (await until(async () => await countWarnings(stage, anew) > before, TOLD_MS) === null) {
    stage.violate('expected', `no sink says that ${topic} was deleted and made again`)
  }
}

/** Fills the disk of one broker, which ends the broker, and starts it once there is room again. */
async function fillBrokerDisk (stage: Stage): Promise<void> {
  const { disk } = kafkaOf(stage)
  if (disk === null) throw new Error('no broker has a disk of its own')
  disk.fill()
  const endedMs = await until(() => !disk.broker.isRunning(), ENDED_MS)
  await sleep(stage.between(0, 5000))
  disk.free()
  if (endedMs === null) {
    stage.violate('expected', `a broker went on for ${ENDED_MS} ms though its disk was full`)
    await disk.broker.kill()
  }
  await disk.broker.start()
}

/**
 * Cuts the power of all brokers: their logs end where they ended some seconds before. Sinks that were down have not
 * stored the lost records. Sinks that were up have a position behind the end.
 */
async function cutPower (stage: Stage): Promise<void> {
  const kafka = kafkaOf(stage)
  const countAgain = async () => {
    const texts = await Promise.all(stage.gateways.map(readMetrics))
    return texts.reduce((sum, text) => sum + sumMetric(text, 'vital_spool_written_again_readings_total'), 0)
  }
  const before = await countAgain()
  const struck = stage.between(0, 2) < 1 ? stage.sinks : []
  await Promise.all(struck.map((sink) => sink.kill()))
  const flushed = new Map<string, number>()
  for (const dataDir of kafka.dataDirs) {
    for (const topic of TOPICS) {
      for (let partition = 0; partition < kafka.partitions; partition++) {
        const logDir = toLogDir(dataDir, topic, partition)
        const last = (await readLastSegment(logDir)).batches.at(-1)
        flushed.set(logDir, last === undefined ? 0 : last.at + last.bytes)
      }
    }
  }
  await sleep(stage.between(1000, 8000))
  await Promise.all(kafka.brokers.map((broker) => broker.kill()))
  let lost = 0
  for (const [logDir, bytes] of flushed) {
    const cut = await cutLog(logDir, () => bytes + Math.floor(stage.between(0, TORN_BYTES)))
    if (cut !== null) lost += cut.end - cut.firstLost
  }
  if (lost === 0) stage.violate('expected', 'no broker lost anything')
  await Promise.all(kafka.brokers.map((broker) => broker.start()))
  await Promise.all(struck.map((sink) => sink.start()))
  if (await until(async () => await countAgain() > before, TOLD_MS) === null) {
    stage.violate('expected', 'no gateway writes again what brokers have lost')
  }
}

/** Kills what runs on the database's machine: PostgreSQL with its batches, and sinks that would write them again. */
async function killPostgresAndSinks (stage: Stage): Promise<void> {
  const release = await holdReadings(stage.postgres.url)
  await sleep(stage.between(300, 1500))
  await Promise.all([stage.postgres.stop('SIGKILL'), ...stage.sinks.map((sink) => sink.kill())])
  await release()
  await sleep(stage.between(0, 3000))
  await stage.postgres.start()
  await Promise.all(stage.sinks.map((sink) => sink.start()))
}

export const KAFKA_STRIKES: readonly Strike[] = [
  { name: 'kill-broker', weight: 4, run: async (stage) => { await restart(brokerOf(stage), stage.between(0, 5000)) } },
  {
    name: 'kill-two-brokers',
    weight: 1,
    async run (stage) {
      const struck = kafkaOf(stage).brokers.slice(0, 2)
      await Promise.all(struck.map((broker) => broker.kill()))
      await sleep(stage.between(0, 5000))
      await Promise.all(struck.map((broker) => broker.start()))
    }
  },
  { name: 'freeze-broker', weight: 2, run: async (stage) => { await freezeFor(brokerOf(stage), stage.between(200, 6000)) } },
  {
    name: 'kill-lone-leader',
    weight: 1,
    obstacle: ({ brokers }) => brokers < 3 ? 'fewer than three brokers' : null,
    run: killLoneLeader
  },
  { name: 'fill-broker-disk', weight: 1, obstacle: mountObstacle, run: fillBrokerDisk },
  {
    name: 'recreate-topic',
    weight: 1,
    obstacle: ({ streams }) => streams === null ? null : 'lakes, exports and Flink lose more with the topic than sinks do',
    run: recreateTopic
  },
  {
    name: 'add-partitions',
    weight: 1,
    async run (stage) {
      const kafka = kafkaOf(stage)
      await kafka.makeTopics(Math.min(PARTITIONS_MAX, kafka.partitions + PARTITIONS_MORE))
    }
  },
  {
    name: 'cut-power',
    weight: 1,
    obstacle ({ ackAfter, streams }) {
      if (streams !== null) return 'a lake does not go on where brokers have lost records'
      return ackAfter === 'spool' ? null : 'with VITAL_ACK_AFTER=replicas readings are lost then'
    },
    run: cutPower
  },
  { name: 'kill-sink', weight: 4, run: async (stage) => { await restart(sinkOf(stage), stage.between(0, 5000)) } },
  {
    name: 'stop-sink',
    weight: 1,
    async run (stage) {
      const sink = sinkOf(stage)
      await restart({ kill: () => sink.stop(), start: () => sink.start() }, stage.between(0, 1000))
    }
  },
  // Longer than the group waits for a member: its partitions go to the other sink meanwhile.
  { name: 'freeze-sink', weight: 2, run: async (stage) => { await freezeFor(sinkOf(stage), stage.between(200, 7000)) } },
  { name: 'replace-sink', weight: 1, run: replaceSink },
  {
    name: 'kill-in-drain',
    weight: 2,
    async run (stage) {
      await Promise.all(stage.sinks.map((sink) => sink.kill()))
      await sleep(stage.between(3000, 8000))
      await Promise.all(stage.sinks.map((sink) => sink.start()))
      await sleep(stage.between(0, 1500))
      await restart(sinkOf(stage), stage.between(0, 2000))
    }
  },
  { name: 'kill-postgres-and-sinks', weight: 1, run: killPostgresAndSinks }
]
