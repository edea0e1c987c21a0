/** Strikes on lakes, exports and Flink, and on the engines that they write to. */
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Engine } from '../../harness/engine.ts'
import type { ClusterGateway } from '../cluster/cluster-gateway.ts'
import type { Stage } from '../cluster/stage.ts'
import { freezeFor, type Given, oneOf, restart, type Strike } from '../cluster/strike.ts'
import type { Streams } from './streams.ts'

const needsLake = ({ streams }: Given) => streams?.weed == null ? 'there is no lake' : null
const needsExport = ({ streams }: Given) => streams?.hasInfluxDb === true ? null : 'there is no export'
const needsFlink = ({ streams }: Given) => streams?.flinkJars == null ? 'there is no Flink' : null

function streamsOf ({ streams }: Stage): Streams {
  if (streams === null) throw new Error('there are no lakes and exports')
  return streams
}

const lakeOf = (stage: Stage) => oneOf(stage, streamsOf(stage).lakes)
const exportOf = (stage: Stage) => oneOf(stage, streamsOf(stage).exports)
const storeOf = (stage: Stage) => streamsOf(stage).store!.engine
const influxDbOf = (stage: Stage) => streamsOf(stage).influxDb!.engine

const stopAndStart = async (stage: Stage, process: ClusterGateway) => {
  await restart({ kill: () => process.stop(), start: () => process.start() }, stage.between(0, 1000))
}

/** Kills all writers while their engine is frozen: it then carries out what it was sent, and its answers are lost. */
async function killAmidWrites (stage: Stage, engine: Engine, writers: readonly ClusterGateway[]): Promise<void> {
  engine.freeze()
  await sleep(stage.between(500, 4000))
  await Promise.all(writers.map((writer) => writer.kill()))
  engine.thaw()
  await sleep(stage.between(0, 3000))
  await Promise.all(writers.map((writer) => writer.start()))
}

/** The same, with the engine killed too: requests that it had not carried out are lost. */
async function killWithWriters (stage: Stage, engine: Engine, writers: readonly ClusterGateway[]): Promise<void> {
  engine.freeze()
  await sleep(stage.between(500, 4000))
  await Promise.all([engine, ...writers].map((one) => one.kill()))
  await sleep(stage.between(0, 3000))
  await engine.start()
  await Promise.all(writers.map((writer) => writer.start()))
}

/** Deletes from the topics everything that all consumers have stored, however recent it is. */
async function trimTopics (stage: Stage): Promise<void> {
  await promisify(execFile)(stage.node, [stage.commandLine, 'topics', 'trim', '--keep-hours', '0'], {
    env: { DATABASE_URL: stage.postgres.url, ...stage.kafka!.env }
  })
}

const away = ({ between }: Stage) => between(0, 5000)
/** Longer than the group waits for a member: another one takes over what it had begun. */
const frozen = ({ between }: Stage) => between(200, 7000)

const LAKE_STRIKES: readonly Strike[] = [
  { name: 'kill-lake', weight: 4, run: async (stage) => { await restart(lakeOf(stage), away(stage)) } },
  { name: 'stop-lake', weight: 1, run: async (stage) => { await stopAndStart(stage, lakeOf(stage)) } },
  { name: 'freeze-lake', weight: 2, run: async (stage) => { await freezeFor(lakeOf(stage), frozen(stage)) } },
  {
    name: 'kill-lakes-amid-writes',
    weight: 2,
    run: async (stage) => { await killAmidWrites(stage, storeOf(stage), streamsOf(stage).lakes) }
  },
  {
    name: 'kill-store-and-lakes',
    weight: 1,
    run: async (stage) => { await killWithWriters(stage, storeOf(stage), streamsOf(stage).lakes) }
  },
  { name: 'kill-store', weight: 1, run: async (stage) => { await restart(storeOf(stage), away(stage)) } },
  { name: 'freeze-store', weight: 1, run: async (stage) => { await freezeFor(storeOf(stage), frozen(stage)) } }
]

const EXPORT_STRIKES: readonly Strike[] = [
  { name: 'kill-export', weight: 4, run: async (stage) => { await restart(exportOf(stage), away(stage)) } },
  { name: 'stop-export', weight: 1, run: async (stage) => { await stopAndStart(stage, exportOf(stage)) } },
  { name: 'freeze-export', weight: 2, run: async (stage) => { await freezeFor(exportOf(stage), frozen(stage)) } },
  {
    name: 'kill-exports-amid-writes',
    weight: 2,
    run: async (stage) => { await killAmidWrites(stage, influxDbOf(stage), streamsOf(stage).exports) }
  },
  {
    name: 'kill-influxdb-and-exports',
    weight: 1,
    run: async (stage) => { await killWithWriters(stage, influxDbOf(stage), streamsOf(stage).exports) }
  },
  { name: 'kill-influxdb', weight: 2, run: async (stage) => { await restart(influxDbOf(stage), away(stage)) } }
]

export const STREAM_STRIKES: readonly Strike[] = [
  ...LAKE_STRIKES.map((strike) => ({ ...strike, obstacle: needsLake })),
  ...EXPORT_STRIKES.map((strike) => ({ ...strike, obstacle: needsExport })),
  {
    name: 'kill-flink',
    weight: 3,
    obstacle: needsFlink,
    run: async (stage) => { await restart(streamsOf(stage).flink!, away(stage)) }
  },
  {
    name: 'trim-topics',
    weight: 2,
    obstacle: ({ streams }) => streams?.flinkJars == null ? null : 'what Flink has not read would be gone',
    run: trimTopics
  }
]
