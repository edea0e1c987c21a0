/** The alert rules that compose mounts. promtool evaluates each on series at which it must fire, and on others. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { describeMetrics } from '../../../src/metrics/describe.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { ROOT } from '../../helpers/program.ts'
import { NO_PROMETHEUS, promtool } from '../../helpers/prometheus.ts'
import { copyPrometheusFiles, PROMETHEUS_DIR } from './prometheus-files.ts'

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string, readonly description: string, readonly runbook: string }
}

const RULES_FILE = join(PROMETHEUS_DIR, 'alerts.yml')
const { groups: [{ rules }] } = parse(await readFile(RULES_FILE, 'utf8')) as { groups: [{ rules: Rule[] }] }
const RUNBOOK = 'src/metrics/README.md'

/** The labels of every scraped series. */
const TARGET = { job: 'vital-gateway', instance: 'ward' }

/** Values of series at 0 s, 15 s, 30 s, … in promtool's notation. `{}` after a name stands for the labels of the target. */
type Values = Readonly<Record<string, string>>

interface Fires {
  readonly values: Values
  readonly at: string
  readonly labels?: Readonly<Record<string, string>>
  readonly description: string
}

interface Case {
  readonly fires: readonly Fires[]
  readonly quiet: ReadonlyArray<{ readonly values: Values, readonly at: string }>
}

const LEDGER = {
  'vital_readings_received_total{transport="mqtt"}': '100x40',
  'vital_readings_received_total{transport="spool"}': '7x40',
  'vital_readings_stored_total{transport="mqtt"}': '80x40',
  'vital_readings_logged_total{transport="mqtt"}': '10x40',
  'vital_readings_stored_total{transport="spool"}': '7x40',
  'vital_readings_duplicate_total{transport="mqtt"}': '5x40',
  'vital_readings_dead_lettered_total{transport="mqtt",reason="invalid_json"}': '2x40',
  'vital_readings_refused_total{transport="mqtt",reason="unavailable"}': '1x40',
  'vital_readings_pending{}': '2x40'
}

const CAPS = {
  'vital_dead_letters{}': '10x40',
  'vital_dead_letters_max{}': '100x40',
  'vital_dead_letter_bytes{}': '10x40',
  'vital_dead_letter_bytes_max{}': '100x40',
  'vital_dead_letter_devices_at_cap{}': '0x40'
}

const STATES = {
  'vital_spool_state{state="ok"}': '1x40', 'vital_spool_state{state="failed"}': '0x40', 'vital_spool_state{state="full"}': '0x40'
}

const KEPT_ASIDE = { 'vital_spool_set_aside{}': '0x40', 'vital_spool_damaged_stretches_total{}': '0x40' }

const CASES: Readonly<Record<string, Case>> = {
  VitalGatewayDown: {
    fires: [
      {
        values: { 'up{}': '1x4 0x40' },
        at: '3m',
        description: 'ward did not answer /metrics for a minute. None of the other alerts can fire for it.'
      },
      {
        values: { 'up{job="other"}': '1x40' },
        at: '3m',
        labels: { job: 'vital-gateway' },
        description: 'No gateway is configured as a target for a minute. None of the other alerts can fire for it.'
      }
    ],
    quiet: [{ values: { 'up{}': '1x4 0x2 1x40' }, at: '3m' }]
  },
  VitalCannotAcknowledge: {
    fires: [
      {
        values: {
          'vital_reading_stopped{}': '1x40',
          'vital_readings_refused_total{transport="mqtt",reason="unavailable"}': '0+5x40'
        },
        at: '5m',
        description: 'ward has stopped reading from publishers, or closes them without an acknowledgement. ' +
          'Devices keep what was not acknowledged.'
      },
      {
        values: {
          'vital_reading_stopped{}': '0x40',
          'vital_readings_refused_total{transport="mqtt",reason="unavailable"}': '0+5x40'
        },
        at: '5m',
        description: 'ward has stopped reading from publishers, or closes them without an acknowledgement. ' +
          'Devices keep what was not acknowledged.'
      }
    ],
    quiet: [{
      values: {
        'vital_reading_stopped{}': '0 1 1 0 1 0x40',
        'vital_readings_refused_total{transport="mqtt",reason="unavailable"}': '9x40',
        'vital_readings_refused_total{transport="mqtt",reason="over_cap"}': '0+5x40'
      },
      at: '5m'
    }]
  },
  VitalDatabaseAway: {
    fires: [{
      values: { 'vital_database_up{}': '1 0x40' },
      at: '3m',
      description: 'ward keeps acknowledged readings in its spool, or leaves them in Kafka. Reads over HTTP are answered 503.'
    }],
    quiet: [{ values: { 'vital_database_up{}': '1 0x3 1x40' }, at: '3m' }]
  },
  VitalSpoolFilling: {
    fires: [
      {
        values: { 'vital_spool_bytes{}': '51x40', 'vital_spool_bytes_max{}': '100x40' },
        at: '5m',
        description: 'The spool of ward is more than half full, or full within four hours. When it is full, the gateway stops reading ' +
          'from publishers.'
      },
      {
        // A byte every 15 s makes 960 in four hours.
        values: { 'vital_spool_bytes{}': '0+1x80', 'vital_spool_bytes_max{}': '900x80' },
        at: '15m',
        description: 'The spool of ward is more than half full, or full within four hours. When it is full, the gateway stops reading ' +
          'from publishers.'
      }
    ],
    quiet: [
      { values: { 'vital_spool_bytes{}': '49x40', 'vital_spool_bytes_max{}': '100x40' }, at: '5m' },
      { values: { 'vital_spool_bytes{}': '0+1x80', 'vital_spool_bytes_max{}': '1100x80' }, at: '15m' },
      { values: { 'vital_spool_bytes{}': '40-1x40', 'vital_spool_bytes_max{}': '100x80' }, at: '5m' }
    ]
  },
  VitalSpoolUnusable: {
    fires: [{
      values: { ...STATES, 'vital_spool_state{state="ok"}': '0x40', 'vital_spool_state{state="failed"}': '1x40' },
      at: '3m',
      labels: { ...TARGET, state: 'failed' },
      description: 'The spool of ward is failed. Nothing can be acknowledged while PostgreSQL, or Kafka as the journal, is away.'
    }],
    quiet: [{ values: STATES, at: '3m' }]
  },
  VitalSpoolKeptAside: {
    fires: Object.keys(KEPT_ASIDE).map((some) => ({
      values: { ...KEPT_ASIDE, [some]: '0 1x40' },
      at: '1m',
      description: 'ward has readings that PostgreSQL refused, or a place of the spool that the disk damaged.'
    })),
    quiet: [{ values: KEPT_ASIDE, at: '1m' }]
  },
  VitalDeadLettersGrowing: {
    fires: [{
      values: {
        'vital_readings_dead_lettered_total{transport="mqtt",reason="invalid_json"}': '0+1x120',
        'vital_readings_dead_lettered_total{transport="http",reason="invalid_reading"}': '0+1x120'
      },
      at: '25m',
      description: 'ward has kept 120 dead letters in 15 minutes.'
    }],
    quiet: [
      { values: { 'vital_readings_dead_lettered_total{transport="mqtt",reason="invalid_json"}': '100x120' }, at: '25m' },
      { values: { 'vital_readings_dead_lettered_total{transport="mqtt",reason="invalid_json"}': '0x20 14x120' }, at: '12m' }
    ]
  },
  VitalDeadLettersCapped: {
    fires: [
      { 'vital_dead_letters{}': '91x40' }, { 'vital_dead_letter_bytes{}': '91x40' }, { 'vital_dead_letter_devices_at_cap{}': '1x40' }
    ].map((values) => ({
      values: { ...CAPS, ...values },
      at: '8m',
      description: 'ward has used more than nine tenths of the room for dead letters, or all of the room that one device has. ' +
        'Beyond that, refused payloads are counted and not kept.'
    })),
    quiet: [{ values: CAPS, at: '8m' }]
  },
  VitalCertificateExpiring: {
    fires: [
      {
        values: { 'vital_tls_certificate_expiry_timestamp_seconds{}': '1209599x40' },
        at: '1m',
        description: 'The certificate of ward expires in 13d 23h 58m 59s.'
      },
      {
        values: { 'vital_tls_certificate_expiry_timestamp_seconds{}': '10x40' },
        at: '1m',
        description: 'The certificate of ward has expired.'
      }
    ],
    quiet: [
      { values: { 'vital_tls_certificate_expiry_timestamp_seconds{}': '1209661x40' }, at: '1m' },
      { values: { 'vital_tls_certificate_expiry_timestamp_seconds{}': '0x40' }, at: '1m' }
    ]
  },
  VitalClockDifference: {
    fires: [{
      values: { 'vital_clock_difference_seconds{}': '-6x40' },
      at: '8m',
      description: "The clock of ward differs from PostgreSQL's by 6 seconds."
    }],
    quiet: [{ values: { 'vital_clock_difference_seconds{}': '5x40' }, at: '8m' }]
  },
  VitalEventLoopStalled: {
    fires: [
      {
        values: { 'nodejs_eventloop_lag_p99_seconds{}': '0.01x4 0.2x40', 'nodejs_eventloop_lag_max_seconds{}': '0.2x40' },
        at: '10m',
        description: 'The event loop of ward was held up for 200ms. All acknowledgements wait meanwhile.'
      },
      {
        values: { 'nodejs_eventloop_lag_p99_seconds{}': '0.01x40', 'nodejs_eventloop_lag_max_seconds{}': '0.02x4 3 0.02x40' },
        at: '4m',
        description: 'The event loop of ward was held up for 3s. All acknowledgements wait meanwhile.'
      }
    ],
    quiet: [{
      values: { 'nodejs_eventloop_lag_p99_seconds{}': '0.01x4 0.9 0.01x40', 'nodejs_eventloop_lag_max_seconds{}': '0.02x4 0.9 0.02x40' },
      at: '4m'
    }]
  },
  VitalLedgerUnbalanced: {
    fires: [{
      values: { ...LEDGER, 'vital_readings_stored_total{transport="mqtt"}': '80x4 77x40' },
      at: '5m',
      description: 'ward has lost track of 3 readings: received less stored, logged, duplicate, dead-lettered, refused and pending.'
    }],
    quiet: [{ values: LEDGER, at: '5m' }]
  },
  VitalDevicesSilent: {
    fires: [{
      values: { 'vital_devices_silent{}': '100x40 111x40', 'vital_device_order_devices{}': '1000x120' },
      at: '15m',
      description: '11 more devices of ward are silent (no reading for five minutes) than at some time of the last hour.'
    }],
    quiet: [
      { values: { 'vital_devices_silent{}': '100x40 110x40', 'vital_device_order_devices{}': '1000x120' }, at: '15m' },
      { values: { 'vital_devices_silent{}': `100x40 ${'NaN '.repeat(40)}`, 'vital_device_order_devices{}': '1000x120' }, at: '15m' },
      { values: { 'vital_devices_silent{}': '100x40 111x400', 'vital_device_order_devices{}': '1000x400' }, at: '75m' }
    ]
  },
  VitalRollupsLag: {
    fires: [{
      values: { 'vital_rollup_lag_seconds{}': '1801x40' }, at: '8m', description: 'The newest averages of ward are 30m 1s old.'
    }],
    quiet: [{ values: { 'vital_rollup_lag_seconds{}': '1700x40' }, at: '8m' }]
  },
  VitalKafkaAway: {
    fires: [{
      values: { 'vital_circuit_state{state="closed"}': '1 0x40', 'vital_kafka_topic_faults{}': '0x40' },
      at: '3m',
      description: 'ward keeps acknowledged readings in its spool until Kafka takes them.'
    }],
    quiet: [
      { values: { 'vital_circuit_state{state="closed"}': '1 0x3 1x40', 'vital_kafka_topic_faults{}': '0x40' }, at: '3m' },
      // PostgreSQL is the journal.
      { values: { 'vital_circuit_state{state="closed"}': '1 0x40' }, at: '3m' }
    ]
  },
  VitalTopicsWeak: {
    fires: [{
      values: { 'vital_kafka_topic_faults{}': '2x40' },
      at: '3m',
      description: 'ward finds 2 settings of the topics of Kafka weaker than they must be.'
    }],
    quiet: [{ values: { 'vital_kafka_topic_faults{}': '0x40' }, at: '3m' }]
  },
  VitalSinkDown: {
    fires: [{ 'up{job="vital-sink",instance="sink"}': '1 0x40' }, { 'vital_sink_member{job="vital-sink",instance="sink"}': '1 0x40' }]
      .map((values) => ({
        values,
        at: '4m',
        labels: { job: 'vital-sink', instance: 'sink' },
        description: 'sink did not answer /metrics, or the consumer group does not know it, for two minutes. ' +
          'The other sinks have its partitions. Without any, readings wait in Kafka.'
      })),
    quiet: [{
      values: { 'up{job="vital-sink",instance="sink"}': '1 0x3 1x40', 'vital_sink_member{job="vital-sink",instance="sink"}': '1 0x3 1x40' },
      at: '4m'
    }]
  },
  VitalSinkLagGrows: {
    fires: [{
      values: { 'vital_sink_lag_seconds{topic="t",partition="1"}': '0+15x40', 'vital_sink_lag_seconds{topic="t",partition="2"}': '0x40' },
      at: '8m',
      description: 'A partition of ward is 8m 0s behind Kafka, and does not catch up. Readers see old values.'
    }],
    quiet: [
      // A backlog that is shrinking.
      { values: { 'vital_sink_lag_seconds{topic="t",partition="1"}': '900-5x100' }, at: '8m' },
      { values: { 'vital_sink_lag_seconds{topic="t",partition="1"}': '59x40' }, at: '8m' }
    ]
  },
  VitalSinkPartitionStopped: {
    fires: [{
      values: {
        'vital_sink_partitions{state="reading"}': '5x40',
        'vital_sink_partitions{state="out_of_range"}': '1x40',
        'vital_sink_partitions{state="unknown_schema"}': '1x40'
      },
      at: '3m',
      description: 'ward does not go on in 2 partitions: it would lose readings, or cannot read them.'
    }],
    quiet: [{ values: { 'vital_sink_partitions{state="reading"}': '5x40', 'vital_sink_partitions{state="gone"}': '0x40' }, at: '3m' }]
  },
  VitalExportBehind: {
    fires: [{
      values: { 'vital_export_lag_seconds{topic="t",partition="1"}': '0+15x120' },
      at: '28m',
      description: 'A partition of ward is 28m 0s behind Kafka, and does not catch up. Readings wait there.'
    }],
    quiet: [
      { values: { 'vital_export_lag_seconds{topic="t",partition="1"}': '9000-5x200' }, at: '28m' },
      { values: { 'vital_export_lag_seconds{topic="t",partition="1"}': '299x120' }, at: '28m' }
    ]
  },
  VitalExportDropped: {
    fires: [{
      // The first value of a series.
      values: { 'vital_export_ignored_total{reason="retention"}': '_x20 10x40' },
      at: '10m',
      description: 'Within the last hour the database of ward has dropped 10 values after it had taken them.'
    }],
    quiet: [{ values: { 'vital_export_ignored_total{reason="small_timestamp"}': '10x400' }, at: '90m' }]
  },
  VitalFlinkStopped: {
    fires: ['0x100', '_x100'].map((later) => ({
      values: {
        'up{job="vital-flink"}': later === '0x100' ? '1x140' : '1x40 _x100',
        'flink_jobmanager_job_numberOfCompletedCheckpoints{job="vital-flink"}': `0+1x40 ${later.replace('0x', '40x')}`
      },
      at: '25m',
      labels: { job: 'vital-flink' },
      description: 'Flink made no checkpoint for ten minutes. Its averages stand still; those of the gateway do not need it.'
    })),
    quiet: [
      {
        values: {
          'up{job="vital-flink"}': '1x140', 'flink_jobmanager_job_numberOfCompletedCheckpoints{job="vital-flink"}': '0+1x140'
        },
        at: '25m'
      },
      { values: { 'up{job="vital-sink"}': '1x140' }, at: '25m' }
    ]
  },
  VitalFlinkLeavesOut: {
    fires: [{
      values: {
        'flink_taskmanager_job_task_operator_numRecordsIn{job="vital-flink",operator_name="left_out_7___Writer"}': '3x20 4x40'
      },
      at: '10m',
      labels: { job: 'vital-flink' },
      description: 'Within the last hour Flink has left out readings; flink.left_out has each. The averages of the gateway hold those ' +
        'that it stored.'
    }],
    quiet: [{
      values: {
        'flink_taskmanager_job_task_operator_numRecordsIn{job="vital-flink",operator_name="left_out_7___Writer"}': '3x60',
        'flink_taskmanager_job_task_operator_numRecordsIn{job="vital-flink",operator_name="averages_table_5___Writer"}': '0+1x60'
      },
      at: '10m'
    }]
  }
}

function toSeries (values: Values) {
  const target = Object.entries(TARGET).map(([name, value]) => `${name}="${value}"`).join(',')
  return Object.entries(values).map(([series, text]) => {
    const labels = /\{(.*)\}$/.exec(series)?.[1] ?? ''
    const all = labels === '' ? target : labels.includes('job=') ? labels : `${labels},${target}`
    return { series: series.replace(/\{.*\}$/, `{${all}}`), values: text }
  })
}

t.test('every rule has cases, and a paragraph of the runbook, which its annotation links', async (t) => {
  t.strictSame(Object.keys(CASES), rules.map(({ alert }) => alert))
  const alerts = /^## Alerts\n([^]*?)^## /m.exec(await readFile(join(ROOT, RUNBOOK), 'utf8'))?.[1] ?? ''
  t.strictSame([...alerts.matchAll(/^### (\w+)\n\n\S/gm)].map(([, name]) => name), rules.map(({ alert }) => alert))
  const readme = await readFile(join(ROOT, 'scripts/compose/README.md'), 'utf8')
  for (const { alert, labels, annotations } of rules) {
    t.match(readme, new RegExp(`^\\| ${labels.severity}: .*\`${alert}\``, 'm'), `${alert} among the alerts of its severity`)
    t.equal(annotations.runbook, `${RUNBOOK}#${alert.toLowerCase()}`)
    t.match(labels.severity, /^(critical|warning)$/)
    t.match(annotations, { summary: /^\S.*\.$/, description: /\S.*\.$/ })
  }
})

t.test('rules use only existing metrics', (t) => {
  const described = new Set(describeMetrics().registry.getMetricsAsArray().map(({ name }) => name))
  const asked = new Set(rules.flatMap(({ expr }) => expr.match(/\bvital_[a-z_]+\b(?!\()/g) ?? []).filter((name) => !name.endsWith('_')))
  t.ok(asked.size > 15)
  t.strictSame([...asked].filter((name) => !described.has(name)), [])
  t.end()
})

for (const { alert, labels: { severity }, annotations } of rules) {
  t.test(`${alert} fires when it must, and only then`, { skip: NO_PROMETHEUS }, async (t) => {
    const { fires = [], quiet = [] } = CASES[alert] ?? {}
    t.ok(fires.length > 0 && quiet.length > 0)
    const firing = fires.map(({ values, at, labels = TARGET, description }) => ({
      values, at, alerts: [{ exp_labels: { severity, ...labels }, exp_annotations: { ...annotations, description } }]
    }))
    const tests = [...firing, ...quiet.map((it) => ({ ...it, alerts: [] }))].map(({ values, at, alerts }) => ({
      interval: '15s',
      input_series: toSeries(values),
      alert_rule_test: [{ eval_time: at, alertname: alert, exp_alerts: alerts }]
    }))
    const file = join(await createTestDir(t), 'cases.yml')
    await writeFile(file, JSON.stringify({ rule_files: [RULES_FILE], evaluation_interval: '15s', tests }))
    t.match(await promtool('test', 'rules', file), /SUCCESS/)
  })
}

t.test('promtool accepts the files as shipped', { skip: NO_PROMETHEUS }, async (t) => {
  t.match(await promtool('check', 'rules', RULES_FILE), new RegExp(`SUCCESS: ${rules.length} rules found`))
  // promtool checks that the secret exists, which the first start of compose makes.
  for (const name of ['prometheus.yml', 'several.yml'] as const) {
    const file = await copyPrometheusFiles(await createTestDir(t), { secret: 'x', targets: {}, name })
    t.match(await promtool('check', 'config', file), /1 rule files found/)
  }
})
