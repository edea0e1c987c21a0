import { pino } from 'pino'
import t from 'tap'
import { createDatabase } from '../../db/database.ts'
import { claimOffset } from '../../db/queries/claim-offset.ts'
import { setOffset } from '../../db/queries/set-offset.ts'
import { createKnownTopics } from '../../src/sink/known-topics.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

const TOPIC = 'vital.readings'
const FORMER_ID = '00112233-4455-6677-8899-aabbccddeeff'
const TOPIC_ID = '11112233-4455-6677-8899-aabbccddeeff'

t.test('each group is warned of a recreated topic, whatever another group has read of it', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const logger = pino({ level: 'silent' })
  const { kysely, close } = createDatabase({ connectionString, poolSize: 2, logger })
  t.teardown(close)
  const claim = (consumerGroup: string, topicId: string) =>
    claimOffset(kysely, { consumerGroup, topicId, partition: 0 }, { topic: TOPIC, owner: consumerGroup })
  const warningsOf = async (group: string) => {
    const admin = { metadata: () => { throw new Error('not asked') }, listTopics: async () => [TOPIC] }
    const topics = createKnownTopics({ admin: admin as never, topics: [TOPIC], group, kysely, logger })
    await topics.noteFirst({ topic: TOPIC, topicId: TOPIC_ID, partition: 0 })
    return topics.warnings()
  }
  for (const group of ['vital-lake', 'vital-sink']) await claim(group, FORMER_ID)
  const ahead = await claim('vital-lake', TOPIC_ID)
  t.equal(await setOffset(kysely, { ...ahead, nextOffset: 5 }), true)
  t.strictSame(await warningsOf('vital-lake'), [], 'it has been warned, and goes on')
  t.match((await warningsOf('vital-sink')).join(), /vital\.readings was deleted and made again/)
  t.strictSame(await warningsOf('vital-other'), [], 'it never read the earlier topic')
})
