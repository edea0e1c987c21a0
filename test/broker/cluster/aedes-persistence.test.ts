/** The suite of aedes-persistence with a copy in Redis: after each test Redis has what the memory has. */
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createCluster, type RedisCluster } from '../../../broker/cluster/create-cluster.ts'
import { KEYS } from '../../../broker/cluster/keys.ts'
import type { Reply } from '../../../broker/cluster/redis/redis-link.ts'
import { decodeSession } from '../../../broker/cluster/stored-session.ts'
import { NO_REDIS, QUICK_LIMITS, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { runPersistenceSuite, type UnderTest } from '../session/persistence-suite.ts'

if (NO_REDIS !== false) t.pass(`left out: ${NO_REDIS}`, { skip: NO_REDIS })
else {
  const redis = await startRedis(t)
  const clusters: RedisCluster[] = []
  t.teardown(() => Promise.all(clusters.map((cluster) => cluster.stop())))

  /** What a session is, whatever its times. */
  const toComparable = (state: ReturnType<UnderTest['sessions']['stateOf']>) => state === null
    ? null
    : {
        subscriptions: [...state.subscriptions].sort(([one], [other]) => one < other ? -1 : 1),
        inbound: [...state.inbound].sort((one, other) => one - other)
      }

  async function check (t: Test, { sessions, retained, clientIds }: UnderTest): Promise<void> {
    const cluster = clusters.at(-1)!
    await cluster.whenCopied()
    for (const clientId of clientIds) {
      const state = sessions.stateOf(clientId)
      const fields = await redis.client.hgetallBuffer(KEYS.client(clientId))
      const stored = decodeSession(Object.entries(fields).flatMap(([name, value]): Reply[] => [Buffer.from(name), value]))
      t.same(toComparable(stored?.state ?? null), toComparable(state), `Redis has the session of ${clientId}`)
    }
    const topics = [...retained.matching(['#'])].map(({ topic }) => topic).sort()
    await until(async () => (await redis.client.hkeys(KEYS.retained)).sort().join() === topics.join(), 'Redis has the retained messages')
    await cluster.stop()
    await redis.client.flushall()
  }

  runPersistenceSuite(t, {
    createCluster () {
      const cluster = createCluster({
        url: redis.url, id: `suite${clusters.length}`, limits: QUICK_LIMITS, logger: pino({ level: 'silent' })
      })
      clusters.push(cluster)
      return cluster
    },
    check
  })
}
