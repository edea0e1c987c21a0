/** The remains: places that an erasure does not reach, as its answer lists them. */
import t from 'tap'
import { toRemains } from '../../src/operations/erasure-remains.ts'
import { erase, publish } from '../helpers/erasures.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { createQuery, NO_REPLICATION, startReplication } from '../helpers/replication.ts'
import { until } from '../helpers/until.ts'

const NOTHING = {
  gateways: [],
  replication: { position: '0/0', standbys: [] },
  consumers: [],
  damagedSpoolFiles: 0,
  keepsReplayed: false,
  hasRedis: false,
  hasKafka: false
}

t.test('each place is listed with the time until which it holds the device', (t) => {
  t.strictSame(toRemains({
    gateways: [
      { name: 'one', state: 'confirmed', isRegistered: true },
      { name: 'two', state: 'silent', isRegistered: true },
      { name: 'three', state: 'away', isRegistered: true },
      { name: 'old', state: 'silent', isRegistered: false }
    ],
    replication: { position: '0/3000', standbys: [{ name: 'other', lagS: null }, { name: 'replica', lagS: 1.25 }] },
    consumers: [
      { group: 'vital-export', owner: 'vital-export host:1/a' },
      { group: 'vital-lake', owner: 'vital-lake host:2/b' },
      { group: 'vital-sink', owner: 'vital-sink host:3/c' },
      { group: 'search', owner: 'by hand' }
    ],
    damagedSpoolFiles: 2,
    keepsReplayed: true,
    hasRedis: true,
    hasKafka: true
  }).map(({ where, until }) => `${where}: until ${until}`), [
    'spool, retained and queued messages of two: until it answers again, before it writes anything',
    'spool, retained and queued messages of three: until its next start, before it replays anything',
    'spool, retained and queued messages of old: until it runs this version, and the device is erased again: it knows nothing of requests',
    'standby server other: until it has replayed 0/3000',
    'standby server replica: until it has replayed 0/3000; it is 1.3 s behind',
    '2 files of the spool that the disk damaged (*.spool.damaged): until they are deleted',
    'copies of readings in the spools of gateways: until VITAL_SPOOL_KEEP_S is over; it is not written to Kafka again',
    'the append-only file of Redis: until it is rewritten (BGREWRITEAOF)',
    'Kafka: until vital-gateway topics trim deletes its records; sinks leave out those that stand before the marker of this erasure',
    'the time-series database of vital-export: until its group has passed the marker of this erasure in every partition, ' +
      'and has deleted the device there; it warns where the database cannot',
    'files of the lake of vital-lake: until its group has passed the marker of this erasure in every partition, and has rewritten them',
    'what the consumer group search keeps: until it erases the device',
    'backups: until they are deleted; a restore erases again what erasures.jsonl of this gateway names'
  ])
  t.match(toRemains({ ...NOTHING, consumers: [{ group: 'vital-lake', owner: 'vital-lake host:2/b' }] }),
    exactly({ where: 'files of the lake of vital-lake', until: /^it is deleted there by hand, for this gateway/ }, { where: 'backups' }))
  t.end()
})

t.test('a standby server is listed, also to a role that may not see its lag; a request that is not needed is forgotten', {
  skip: NO_REPLICATION, timeout: 60_000
}, async (t) => {
  const { primary, replica } = await startReplication(t)
  const { httpUrl, mqttPort, stop } = await startGateway(t, { DATABASE_URL: primary.url })
  await publish(t, mqttPort, 100)
  const { status, remains } = await erase(httpUrl)
  t.equal(status, 200)
  t.match(remains[0], { where: 'standby server walreceiver', until: /^it has replayed [0-9A-F]+\/[0-9A-F]+; it is \d+\.\d s behind$/ })
  await until(async () => (await replica.query("select from readings where device = 'a'")).length === 0, 'the replica to erase the device')

  await primary.query("update erasures set deleted_at = now() - interval '2 days'")
  await until(async () => (await primary.query('select from erasures')).length === 0, 'the request to be forgotten')
  await stop()
  await primary.query('create role vital login')
  await primary.query('create database vital owner vital')
  const own = primary.url.replace('postgres@', 'vital@').replace(/postgres$/, 'vital')
  const second = await startGateway(t, { DATABASE_URL: own })
  await publish(t, second.mqttPort, 100)
  t.match((await erase(second.httpUrl)).remains[0],
    { where: 'standby server walreceiver', until: /^it has replayed [0-9A-F]+\/[0-9A-F]+$/ })
  t.strictSame(await createQuery(own)("select from readings where device = 'a'"), [])
})
