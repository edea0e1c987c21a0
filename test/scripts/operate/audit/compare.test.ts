import t from 'tap'
import type { Received } from '../../../../db/queries/count-received.ts'
import { compare } from '../../../../scripts/operate/audit/compare.ts'
import type { Log } from '../../../../scripts/operate/audit/log.ts'
import { type Scrape, toScrape } from '../../../../scripts/operate/audit/scrape.ts'

const URL = 'http://127.0.0.1:3000'

const SCRAPE: Scrape = {
  url: URL,
  role: 'gateway',
  startedAt: 1_750_000_000,
  received: 20,
  stored: 12,
  logged: 0,
  duplicate: 2,
  deadLettered: 3,
  refused: 2,
  pending: 1,
  own: { stored: 10, logged: 0, duplicate: 2, deadLettered: 3, left: 0, unavailable: 0, databaseRejected: 0 },
  spoolReadings: 0,
  spoolBytes: 0,
  spoolDamage: 0,
  lettersRefused: 0,
  isDatabaseUp: true,
  retentionReadings: 0
}

const RECEIVED: Received = { readings: 10, devicesWithoutLatest: 0, deadLetters: 3, readingsDeleted: 0, deadLettersDeleted: 0, gateways: 1 }

const find = (subject: string, received: Partial<Received>, scrape: Partial<Scrape> = {}, before: Partial<Scrape> = {}) =>
  compare([{ ...SCRAPE, ...scrape, ...before }], {
    ...RECEIVED, ...received
  }, [{ ...SCRAPE, ...scrape }]).find((finding) => finding.subject.startsWith(subject))

t.test('all well', async (t) => {
  t.strictSame(compare([SCRAPE], RECEIVED, [SCRAPE]).map(({ subject, status }) => [subject, status]), [
    [`ledger of ${URL}`, 'ok'], [`spool of ${URL}`, 'ok'], ['readings', 'ok'], ['dead letters', 'ok'], ['latest', 'ok']
  ])
})

t.test('under traffic the rows may be between two scrapes, and pending readings may be committed already', async (t) => {
  const before = { own: { ...SCRAPE.own, stored: 5, deadLettered: 1 } }
  for (const [readings, status] of [[4, 'wrong'], [5, 'ok'], [10, 'ok'], [11, 'ok'], [14, 'wrong']] as const) {
    t.equal(find('readings', { readings }, {}, before)?.status, status, `${readings} readings`)
  }
  for (const [deadLetters, status] of [[0, 'wrong'], [1, 'ok'], [4, 'ok'], [5, 'wrong']] as const) {
    t.equal(find('dead letters', { deadLetters }, {}, before)?.status, status, `${deadLetters} dead letters`)
  }
})

t.test('missing rows are explained as far as the evidence reaches', async (t) => {
  t.match(find('readings', { readings: 9 }), {
    status: 'wrong', text: /^9 rows, 10 to 11 counted as stored: 1 fewer\. Look for months dropped/
  })
  t.match(find('readings', { readings: 6 }, { retentionReadings: 4 }), {
    status: 'explained', text: /: 4 fewer\. retention removed about 4 since the start\.$/
  })
  t.match(find('readings', { readings: 5 }, { retentionReadings: 4 }), { status: 'wrong', text: /That does not account for all of them/ })
  t.match(find('readings', { readings: 5, readingsDeleted: 1 }, { retentionReadings: 4 }), { status: 'explained' })
  t.match(find('dead letters', { deadLetters: 1, deadLettersDeleted: 2 }), {
    status: 'explained', text: /2 deleted: discarded, or replayed/
  })
  t.match(find('dead letters', { deadLetters: 0, deadLettersDeleted: 2 }), { status: 'wrong' })
  t.match(find('dead letters', { deadLetters: 1 }, { lettersRefused: 2 }), {
    status: 'explained', text: /PostgreSQL refused 2: they are in refused-dead-letters\.ndjson/
  })
  t.match(find('dead letters', { deadLetters: 2, readingsDeleted: 9, gateways: 3 }), { status: 'wrong' },
    'evidence for a surplus does not explain a loss')
})

t.test('surplus rows are explained as far as the evidence reaches', async (t) => {
  t.match(find('readings', { readings: 13 }), {
    status: 'explained', text: /2 more\. 2 readings counted as duplicates: where the outcome of a COMMIT was unknown/
  })
  t.match(find('readings', { readings: 14 }), {
    status: 'wrong', text: /does not account for all of them\. Look for a gateway on this database that has stopped/
  })
  t.match(find('readings', { readings: 14 }, { own: { ...SCRAPE.own, unavailable: 1 } }), {
    status: 'explained', text: /1 readings given up as unavailable/
  })
  t.match(find('readings', { readings: 5000, gateways: 2 }), {
    status: 'explained', text: /1 more gateway writes to this database; name each with --url/
  })
  t.match(find('dead letters', { deadLetters: 5 }), { status: 'wrong' })
  t.match(find('dead letters', { deadLetters: 5 }, { own: { ...SCRAPE.own, databaseRejected: 1 } }), { status: 'explained' })
})

t.test('ledger, spool and latest', async (t) => {
  t.match(find('ledger', {}, { received: 21 }), { status: 'wrong', text: /does not balance, by 1: received 21 = stored 12/ })
  t.match(find('spool', {}, { spoolReadings: 1, spoolBytes: 99, isDatabaseUp: false }), {
    status: 'explained', text: /1 acknowledged readings \(99 bytes\) wait in it .* PostgreSQL does not take them now/
  })
  t.match(find('spool', {}, { spoolReadings: 2 }), { status: 'wrong' })
  t.match(find('spool', {}, { spoolDamage: 1 }), { status: 'wrong', text: /may be lost/ })
  t.match(find('latest', { devicesWithoutLatest: 1 }), { status: 'wrong' })
})

t.test('several gateways are counted together, each with its own ledger', async (t) => {
  const scrapes = [SCRAPE, { ...SCRAPE, url: 'http://other', received: 99 }]
  const findings = compare(scrapes, { ...RECEIVED, readings: 20, deadLetters: 6, gateways: 2 }, scrapes)
  t.strictSame(findings.map(({ status }) => status), ['ok', 'wrong', 'ok', 'ok', 'ok', 'ok', 'ok'])
  const surplus = compare(scrapes, {
    ...RECEIVED, readings: 99, deadLetters: 6, gateways: 2
  }, scrapes).find(({ subject }) => subject === 'readings')
  t.match(surplus, { status: 'wrong' }, 'both are counted, so there is no further gateway')
})

t.test('a scrape sums over labels, and `own` excludes readings that the spool held at the start', async (t) => {
  t.match(toScrape(URL, [
    '# HELP vital_readings_stored_total x', '# TYPE vital_readings_stored_total counter',
    'vital_start_time_seconds 1750000000.25', 'vital_readings_received_total{transport="mqtt"} 7',
    'vital_readings_stored_total{transport="mqtt"} 4', 'vital_readings_stored_total{transport="http"} 1',
    'vital_readings_stored_total{transport="spool"} 2',
    'vital_readings_dead_lettered_total{transport="mqtt",reason="database_rejected"} 3',
    'vital_readings_dead_lettered_total{transport="spool",reason="database_rejected"} 5',
    'vital_readings_refused_total{transport="http",reason="unavailable"} 6',
    'vital_readings_refused_total{transport="http",reason="invalid_json"} 1',
    'vital_readings_pending 1.5e+3', 'vital_database_up 1', 'vital_retention_removed_readings_total 8', ''
  ].join('\n')), {
    startedAt: 1_750_000_000.25,
    received: 7,
    stored: 7,
    deadLettered: 8,
    refused: 7,
    pending: 1500,
    own: { stored: 5, deadLettered: 3, databaseRejected: 3, unavailable: 6 },
    isDatabaseUp: true,
    retentionReadings: 8
  })
  t.throws(() => toScrape(URL, 'process_start_time_seconds 1\n'), { code: 'OPERATOR_FAILED', message: /is not this gateway/ })
})

const toTopicId = (topic: string) => `id of ${topic}`
const LOG: Log = {
  partitions: ['vital.readings', 'vital.dead-letters'].map((topic) =>
    ({ topic, topicId: toTopicId(topic), partition: 0, earliest: 5, latest: 20 })),
  offsets: ['vital.readings', 'vital.dead-letters'].map((topic) =>
    ({ consumerGroup: 'vital-sink', topic, topicId: toTopicId(topic), partition: 0, nextOffset: 20, leaderEpoch: null })),
  faults: [],
  isWeakAllowed: false,
  sinkGroup: 'vital-sink'
}
const WITH_LOG: Scrape = {
  ...SCRAPE,
  received: 18,
  stored: 0,
  logged: 15,
  duplicate: 0,
  deadLettered: 0,
  own: { ...SCRAPE.own, stored: 0, duplicate: 0, deadLettered: 0, logged: 13 }
}
const SINK: Scrape = { ...SCRAPE, url: 'http://127.0.0.1:3001', role: 'sink' }

const withLog = (received: Partial<Received>, log: Partial<Log> = {}, sink: Partial<Scrape['own']> | null = {}) => {
  const scrapes = sink === null ? [WITH_LOG] : [WITH_LOG, { ...SINK, own: { ...SINK.own, duplicate: 0, ...sink } }]
  return compare(scrapes, { ...RECEIVED, ...received }, scrapes, { ...LOG, ...log })
}

t.test('with a log the counts of gateways are compared with readings and dead letters together', async (t) => {
  t.strictSame(withLog({}).map(({ subject, status }) => [subject, status]), [
    [`ledger of ${URL}`, 'ok'], [`ledger of ${SINK.url}`, 'ok'], [`spool of ${URL}`, 'ok'], ['readings and dead letters', 'ok'],
    ['vital.readings, vital-sink', 'ok'], ['vital.dead-letters, vital-sink', 'ok'], ['latest', 'ok']
  ])
  const rows = (...args: Parameters<typeof withLog>) => withLog(...args).find(({ subject }) => subject === 'readings and dead letters')
  t.match(rows({ readings: 9 }), {
    status: 'wrong', text: /^12 rows, 13 to 14 counted as logged: 1 fewer\. Look for a sink that was restarted/
  })
  t.match(rows({ readings: 9 }, {}, { duplicate: 1 }), { status: 'explained', text: /sinks found 1 that were stored before/ })
  t.match(rows({ readings: 9 }, {}, { left: 1 }), { status: 'explained' })
  t.match(rows({ readings: 9 }, {}, null), { status: 'explained', text: /name each sink with --url/ })
  const [first, ...others] = LOG.offsets
  const behind = [{ ...first!, nextOffset: 18 }, ...others]
  t.match(rows({ readings: 8 }, { offsets: behind }), { status: 'explained', text: /2 records wait in Kafka/ })
  t.match(rows({ readings: 7 }, { offsets: behind }), { status: 'wrong', text: /does not account for all/ })
  t.match(rows({ readings: 12 }), {
    status: 'wrong', text: /^15 rows, 13 to 14 counted as logged: 1 more\. Look for a gateway on this Kafka/
  })
})

t.test('a consumer whose position Kafka does not have is wrong; one that is behind is not', async (t) => {
  const readings = (nextOffset: number | null) => {
    const offsets = nextOffset === null ? LOG.offsets.slice(1) : [{ ...LOG.offsets[0]!, nextOffset }, ...LOG.offsets.slice(1)]
    return withLog({}, { offsets }).find(({ subject }) => subject === 'vital.readings, vital-sink')
  }
  t.match(readings(5), { status: 'explained', text: '15 records of 1 partitions wait in Kafka.' })
  t.match(readings(null), { status: 'explained', text: '15 records of 1 partitions wait in Kafka.' })
  t.match(readings(3), { status: 'wrong', text: /^partition 0: 2 records were deleted before they were stored\./ })
  t.match(readings(21), { status: 'wrong', text: /^partition 0: it is stored up to 21, and Kafka ends at 20: brokers lost records\./ })
})

t.test('faults of topics: allowed weak ones and minor ones do not fail the audit', async (t) => {
  const statuses = (isWeakAllowed: boolean) => withLog({}, {
    isWeakAllowed,
    faults: (['wrong', 'weak', 'minor'] as const).map((kind) => ({ topic: kind, kind, message: kind }))
  }).filter(({ subject }) => ['wrong', 'weak', 'minor'].includes(subject)).map(({ status }) => status)
  t.strictSame(statuses(false), ['wrong', 'wrong', 'explained'])
  t.strictSame(statuses(true), ['wrong', 'explained', 'explained'])
})
