import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { buildProgram, root, transpile } from '../../harness/compile.ts'
import { type PlantedBug, plantBug } from '../../harness/plant-bug.ts'
import type { Break } from './injection.ts'

/** Folders that the harness's own processes import, beside the gateway. */
const SCRIPTS = ['chaos', 'bench', 'harness']

/** Defects that no store or disk of the harness can inject: they are built into the program. */
const PLANTED: Readonly<Partial<Record<Break, PlantedBug>>> = {
  // Readings that could not be stored are refused for good, and MQTT 5 devices drop them.
  'refuse-unstored': {
    file: 'broker/publish/hold-until-durable.ts',
    find: 'if (outcome.status === \'unavailable\') {',
    put: 'if (outcome.status === \'unavailable\') { ' +
      'if (connection.client.protocolLevel === 5) return pass(connection, held, \'payload_format\');'
  },
  // A publish is acknowledged although Redis lacks its deliveries to sessions and other gateways.
  'ack-before-redis': { file: 'broker/cluster/copies.ts', find: 'if (next !== null)', put: 'return null; if (next !== null)' },
  // A gateway whose lease has lapsed acknowledges without having asked whether another one has adopted its sessions.
  'ack-when-lapsed': { file: 'broker/cluster/joining.ts', find: 'get isInDoubt() {', put: 'get isInDoubt() { return false;' },
  // The wills of a dead gateway's clients are forgotten.
  'drop-wills': { file: 'broker/cluster/adoption.ts', find: 'await progress.wills.publishDue();', put: '' },
  // Kafka acknowledges what one broker alone has.
  'acks-one': {
    file: 'src/kafka/kafka-log.ts',
    find: 'producer.send({ messages: records, acks: client.ProduceAcks.ALL })',
    put: 'producer.send({ messages: records, acks: client.ProduceAcks.LEADER })'
  },
  // A sink says that records are stored, and stores them afterwards.
  'offset-before-rows': {
    file: 'src/sink/offset-writer.ts', find: 'if (units > 0)', put: 'await store.write([], [], undefined, to); if (units > 0)'
  },
  // A sink stores what it has read of a partition that another one has claimed since.
  'no-epoch': { file: 'db/queries/move-offsets.ts', find: ' and stored.epoch = given.epoch', put: '' },
  // A record that is in the log twice is two readings.
  'no-identity': {
    file: 'src/kafka/reading-record.ts', find: 'hash(\'sha256\', vitals, ', put: 'hash(\'sha256\', vitals + Math.random(), '
  },
  // Records that brokers have lost are not written again.
  'keep-nothing': { file: 'src/ingest/journal/kept-check.ts', find: 'if (lost[index] === true)', put: 'if (Date.now() === 0)' },
  // A lake takes a plan that it finds for one that is carried out.
  'skip-plan': {
    file: 'src/lake/writer.ts',
    find: 'const latest = await plans.latest(place);',
    put: 'const begun = await plans.latest(place); const latest = begun && { ...begun, isDone: true };'
  },
  // An export says that records are exported, and sends them afterwards.
  'offset-before-points': {
    file: 'src/export/batch-writer.ts',
    find: 'if (readings.length > 0)',
    put: 'await store.write([], [], timeoutMs, claims); if (readings.length > 0)'
  },
  // Flink counts a record that is in the log twice as two readings.
  'count-twice': {
    file: 'scripts/compose/flink/averages.sql', find: 'FROM once WHERE reason IS NULL\n)', put: 'FROM judged WHERE reason IS NULL\n)'
  },
  // A replica answers whatever position a client asks for.
  'trust-replica': {
    file: 'src/reads/replicas/replicas.ts', find: 'await replica.reaches(position, nowMs() + POSITION_WAIT_MS)', put: 'true'
  },
  // A replica answers however old it is.
  'any-age': { file: 'src/reads/replicas/replicas.ts', find: 'ageOf(replica) <= STALE_MAX_MS', put: 'ageOf(replica) < Infinity' }
}

/** Entry files in a run's copy of the program. */
export interface Program {
  readonly gateway: string
  readonly gatewayUnderTest: string
  /** `vital-gateway`. */
  readonly commandLine: string
  /** `scripts/compose/flink`. */
  readonly flink: string
  readonly publisher: string
  readonly subscriber: string
}

/**
 * Builds the gateway as `npm start` does, and copies it for this run, so that a build that is started meanwhile does
 * not change the program under test.
 * @param dir - of this run
 * @param isBuilding - false takes `dist/` as it is
 * @param breaks - a defect of the program itself is planted in the copy
 */
export function prepareProgram (
  { dir, isBuilding, breaks }: { dir: string, isBuilding: boolean, breaks: Break | undefined }
): Program {
  if (isBuilding) buildProgram()
  const main = join(root, 'dist', 'src', 'main.js')
  if (!existsSync(main)) throw new Error(`${main} is missing: the gateway was not built`)
  const app = join(dir, 'app')
  mkdirSync(app)
  cpSync(join(root, 'package.json'), join(app, 'package.json'))
  symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'))
  cpSync(join(root, 'dist'), join(app, 'dist'), { recursive: true })
  const flink = join('scripts', 'compose', 'flink')
  cpSync(join(root, flink), join(app, 'dist', flink), { recursive: true })
  for (const name of SCRIPTS) transpile(join(root, 'scripts', name), join(app, 'dist', 'scripts', name))
  const planted = breaks === undefined ? undefined : PLANTED[breaks]
  if (planted !== undefined) plantBug(join(app, 'dist'), planted)
  const chaos = join(app, 'dist', 'scripts', 'chaos')
  return {
    gateway: join(app, 'dist', 'src', 'main.js'),
    commandLine: join(app, 'dist', 'scripts', 'vital-gateway.js'),
    flink: join(app, 'dist', flink),
    gatewayUnderTest: join(chaos, 'rig', 'gateway-under-test.js'),
    publisher: join(app, 'dist', 'scripts', 'harness', 'devices', 'publisher.js'),
    subscriber: join(chaos, 'devices', 'subscriber.js')
  }
}
