import { toSpread } from '../../harness/statistics.ts'
import { BROKERS, type KafkaOutcome, type KafkaRound, NEW_RATE_PER_S, RATE_PER_S, toSetUpName } from '../kafka.ts'
import { layOut } from './report.ts'

/** Medians over rounds. */
export function formatKafka ({ setUps, drains, sizes }: KafkaOutcome): string {
  const rows = setUps.map(({ setUp, rounds }) => {
    const median = (pick: (round: KafkaRound) => number) => toSpread(rounds.map(pick)).median.toFixed(1)
    return [
      toSetUpName(setUp),
      median(({ cpu }) => cpu.gateways),
      median(({ cpu }) => cpu.brokers),
      median(({ cpu }) => cpu.sinks),
      median(({ cpu }) => cpu.database),
      median(({ batch }) => batch),
      median(({ p50 }) => p50),
      median(({ p99 }) => p99)
    ]
  })
  const drained = drains.map((drain) => [
    String(drain.sinks),
    drain.backlog.toLocaleString('en-US'),
    drain.writtenPerS.toFixed(0),
    drain.storedPerS.toFixed(0),
    drain.sinkCpu.toFixed(1),
    drain.databaseCpu.toFixed(1),
    drain.p99.toFixed(0)
  ])
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
  return [
    layOut([
      [
        'gateways', 'gateway CPU s/M', 'brokers CPU s/M', 'sinks CPU s/M', 'PostgreSQL CPU s/M', 'readings a batch', 'ack p50 ms',
        'ack p99 ms'
      ],
      ...rows
    ]),
    `MQTT, QoS 1, ${RATE_PER_S} readings/s in all, ${BROKERS} brokers, acks=all.`,
    layOut([
      ['sinks', 'backlog', 'written/s', 'drained/s', 'sinks CPU s/M', 'PostgreSQL CPU s/M', 'ack p99 ms'],
      ...drained
    ]),
    `The backlog came in arrays of 50; ${NEW_RATE_PER_S} new readings/s arrived while it was drained.`,
    layOut([
      ['bytes a reading', 'log of one broker', 'tables and indexes', 'WAL', 'peak memory: gateway', 'broker', 'sink'],
      [
        '', ...[sizes.brokerBytes, sizes.tableBytes, sizes.walBytes].map((bytes) => bytes.toFixed(0)),
        ...[sizes.gatewayRss, sizes.brokerRss, sizes.sinkRss].map(mib)
      ]
    ])
  ].join('\n\n')
}
