import { findFreePort } from '../../../db/embedded/cluster.ts'
import { readReadiness } from '../../harness/checks/metrics.ts'
import { ClusterGateway, type ClusterGatewayOptions } from '../cluster/cluster-gateway.ts'
import { type Flink, type InfluxDb, startFlink, startInfluxDb, startStore, type Store, type StreamsOptions } from './engines.ts'

/** Two of each, so that one takes over what another one had. */
const MEMBERS = 2
const LAKE_AGE_S = 10
/** Prefix of the keys of a lake. */
export const LAKE_PREFIX = 'readings/'
/** DuckDB's bound and the rest of a lake, by `LAKE_LIMITS`. */
const LAKE_RSS_BYTES_MAX = 1024 * 1024 * 1024

/** Lakes, exports and Flink of a run, with what they write to. */
export interface Streams {
  readonly lakes: readonly ClusterGateway[]
  readonly exports: readonly ClusterGateway[]
  /** Of lakes; `null`: there are none. */
  readonly store: Store | null
  /** Of exports; `null`: there are none. */
  readonly influxDb: InfluxDb | null
  readonly flink: Flink | null
  /** @returns what does not serve; `null`: all do */
  readonly findFault: () => Promise<string | null>
  readonly stop: () => Promise<void>
}

interface CreateOptions {
  readonly parts: StreamsOptions
  /** Of its processes. */
  readonly own: Pick<ClusterGatewayOptions, 'belongings' | 'dir' | 'connections' | 'onViolation'>
  readonly node: string
  /** `vital-gateway` of the run, and its `scripts/compose/flink`. */
  readonly program: { readonly commandLine: string, readonly flink: string }
  /** DATABASE_URL, KAFKA_BROKERS and the other variables of all. */
  readonly env: Readonly<Record<string, string>>
}

export async function createStreams ({ parts, own, node, program, env }: CreateOptions): Promise<Streams> {
  const { belongings, dir } = own
  const store = parts.weed === null ? null : await startStore(belongings, dir, parts.weed)
  const influxDb = parts.hasInfluxDb ? await startInfluxDb(belongings, dir) : null

  async function startAll (role: string, variables: Readonly<Record<string, string>>, bounds: { rssBytesMax?: number } = {}) {
    const members = []
    for (let index = 1; index <= MEMBERS; index++) {
      const member = new ClusterGateway({
        ...own,
        ...bounds,
        name: `${role}-${index}`,
        node,
        args: [program.commandLine, role],
        env: { ...env, ...variables },
        mqttPort: 0,
        httpPort: await findFreePort()
      })
      await member.start()
      members.push(member)
    }
    return members
  }
  const lakes = store === null
    ? []
    : await startAll('lake', {
      ...store.variables, VITAL_LAKE_URL: `s3://${store.bucket}/${LAKE_PREFIX}`, VITAL_LAKE_MAX_AGE_S: String(LAKE_AGE_S)
    }, { rssBytesMax: LAKE_RSS_BYTES_MAX })
  const exports = influxDb === null ? [] : await startAll('export', { VITAL_EXPORT_KIND: 'influxdb1', VITAL_EXPORT_URL: influxDb.url })
  const flink = parts.flinkJars === null
    ? null
    : await startFlink(belongings, dir, {
      jars: parts.flinkJars, folder: program.flink, connectionString: env['DATABASE_URL']!, brokers: env['KAFKA_BROKERS']!
    })
  return {
    lakes,
    exports,
    store,
    influxDb,
    flink,
    async findFault () {
      for (const { options: { name, httpPort } } of [...lakes, ...exports]) {
        if ((await readReadiness(httpPort)).code !== 200) return `${name} is not ready`
      }
      return null
    },
    async stop () {
      await flink?.kill()
      for (const member of [...lakes, ...exports]) {
        await member.stop()
        member.watch.stop()
      }
      await store?.engine.kill()
      await influxDb?.engine.kill()
    }
  }
}
