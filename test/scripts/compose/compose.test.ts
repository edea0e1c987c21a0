import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { EnvironmentSchema } from '../../../schemas/environment.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
const compose = read('compose.yaml')
const dockerfile = read('Dockerfile')

interface Target { expr?: string, rawSql?: string, datasource: { uid: string } }
interface Panel { id: number, title: string, gridPos: { x: number, y: number, w: number, h: number }, targets?: Target[] }
interface Dashboard { uid: string, panels: Panel[], templating: { list: Array<{ query: string, datasource: { uid: string } }> } }

const dashboard = JSON.parse(read('scripts/compose/grafana/dashboards/vital-gateway.json')) as Dashboard
const targets = dashboard.panels.flatMap((panel) => panel.targets ?? [])

/** The names of design.md: what a dashboard may rely on. */
const METRICS = new Set([
  ...['received', 'stored', 'duplicate', 'dead_lettered', 'refused'].map((what) => `vital_readings_${what}_total`),
  'vital_readings_pending', 'vital_ack_duration_seconds_bucket', 'vital_batch_duration_seconds_bucket',
  'vital_batch_readings_sum', 'vital_batch_readings_count',
  'vital_buffer_bytes', 'vital_spool_bytes', 'vital_database_up', 'vital_mqtt_clients'
])

t.test('ports are published on loopback only', (t) => {
  const published = [...compose.matchAll(/^ +- "?((?:[\d.]+:)?\d+:\d+)"?$/gm)].map(([, port]) => port)
  t.strictSame(published, ['127.0.0.1:1883:1883', '127.0.0.1:3000:3000', '127.0.0.1:9090:9090', '127.0.0.1:3001:3000'])
  t.equal(compose.match(/^ {4}ports:/gm)?.length, 3, 'no port in another notation')
  t.end()
})

t.test('every variable of .env reaches the gateway', (t) => {
  const fixed = [
    'DATABASE_URL', 'VITAL_DATA_DIR', 'VITAL_HOST', 'VITAL_ALLOW_ANONYMOUS', 'VITAL_MQTT_PORT', 'VITAL_HTTP_PORT', 'VITAL_MQTT_PLAINTEXT'
  ]
  const passed = [...compose.matchAll(/^ {6}(VITAL_\w+): \$\{(\w+):-\}$/gm)].map(([, name, from]) => name === from
    ? name
    : `${name} from ${from}`)
  t.strictSame(passed, Object.keys(EnvironmentSchema.properties).filter((name) => !fixed.includes(name)))
  t.end()
})

t.test('Prometheus of Debian 12 (2.42), which lacks storage.tsdb.retention, accepts the file', (t) => {
  t.notMatch(read('scripts/compose/prometheus/prometheus.yml'), /retention/)
  t.match(compose, /--storage\.tsdb\.retention\.time=15d/)
  t.end()
})

t.test('no password has a value in a file', (t) => {
  const passwords = [...compose.matchAll(/^ +(\w*PASSWORD\w*): (.*)$/gm)]
  t.equal(passwords.length, 6)
  for (const [line, , value] of passwords) t.match(value, /^\$\{\w+_PASSWORD:\?set \w+ in \.env/, line.trim())
  t.notMatch(compose, /:\/\/[^/\s@]+:[^/\s@]+@/, 'nor does a URL')
  t.end()
})

t.test('every image is pinned, and every mounted file is there', (t) => {
  const images = [...compose.matchAll(/^ {4}image: (\S+)$/gm)].map(([, image]) => image ?? '')
  t.equal(images.length, 3)
  for (const image of images) t.match(image, /:v?\d/)
  const mounts = [...compose.matchAll(/^ +- \.\/(\S+?):\/\S+?(:ro)?$/gm)]
  t.equal(mounts.length, 6)
  for (const [line, path = '', mode] of mounts) {
    t.ok(existsSync(new URL(`../../../${path}`, import.meta.url)), line.trim())
    t.equal(mode, ':ro', line.trim())
  }
  t.end()
})

t.test('the image holds what the build reads, and runs what npm start runs', (t) => {
  const { include } = JSON.parse(read('tsconfig.build.json')) as { include: string[] }
  const ignore = read('.dockerignore').split('\n')
  for (const folder of [...new Set(include.map((path) => path.split('/')[0]!)), 'test/fixtures/bidmc']) {
    t.ok(dockerfile.includes(`COPY ${folder} ${folder}\n`), `${folder} is copied`)
    t.ok(ignore.includes(`!${folder}`), `${folder} reaches the builder`)
  }
  const { bin, scripts } = JSON.parse(read('package.json')) as { bin: Record<string, string>, scripts: { start: string } }
  const program = bin['vital-gateway'] ?? ''
  t.equal(scripts.start, `exec ${program}`)
  t.ok(dockerfile.includes(`RUN ln -s /app/${program} /usr/local/bin/vital-gateway\n`))
  t.ok(dockerfile.trimEnd().endsWith('CMD ["vital-gateway"]'))
  t.end()
})

t.test('every container runs without privileges, and the gateway without a writable root or anonymous access', (t) => {
  const services = compose.slice(compose.indexOf('\nservices:'), compose.indexOf('\nvolumes:')).split(/^ {2}(?=[\w-]+:$)/m).slice(1)
  t.strictSame(services.map((service) => service.slice(0, service.indexOf(':'))),
    ['credentials', 'gateway', 'demo', 'demo-credentials', 'postgres', 'prometheus', 'grafana'])
  const shared = /^x-gateway:[^]*?(?=^\S+:)/m.exec(compose.slice(compose.indexOf('x-gateway:')))?.[0] ?? ''
  for (const service of services) {
    const settings = service.includes('<<: *gateway') ? shared : service
    t.match(settings, /cap_drop: \[ALL\]/)
    t.match(settings, /security_opt: \["no-new-privileges:true"\]/)
  }
  t.match(shared, /read_only: true/)
  t.match(dockerfile, /^USER node$/m)
  t.notMatch(compose, /VITAL_ALLOW_ANONYMOUS|privileged|network_mode|pid: host/)
  t.match(read('scripts/compose/prometheus/prometheus.yml'), /credentials_file: \/etc\/prometheus\/credentials\/secret/)
  t.end()
})

t.test('the dashboard asks for metrics of the contract only, and for all of them', (t) => {
  const asked = new Set(targets.flatMap(({ expr }) => expr?.match(/\bvital_\w+/g) ?? []))
  t.strictSame([...asked].filter((name) => !METRICS.has(name)), [])
  t.strictSame([...METRICS].filter((name) => !asked.has(name)), [])
  t.end()
})

t.test('the dashboard asks the provisioned data sources', (t) => {
  const provisioned = [...read('scripts/compose/grafana/provisioning/datasources/vital-gateway.yaml')
    .matchAll(/^ {4}uid: (\S+)$/gm)].map(([, uid]) => uid)
  t.strictSame(provisioned, ['vital-prometheus', 'vital-postgres'])
  t.ok(targets.every(({ expr, datasource }) => datasource.uid === (expr === undefined ? 'vital-postgres' : 'vital-prometheus')))
  t.end()
})

t.test('a device id reaches SQL quoted', (t) => {
  const queries = targets.flatMap(({ rawSql }) => rawSql ?? [])
  t.ok(queries.some((query) => query.includes('$' + '{device:sqlstring}')))
  for (const query of queries) t.notMatch(query, /\$device|\$\{device\}|'\$/)
  t.end()
})

/** What Grafana makes of a query: the macros of its PostgreSQL data source, and the variable `device`. */
function expandMacros (query: string, device: string): string {
  return query
    .replace(/\$__timeGroupAlias\((\w+), \$__interval\)/g, 'floor(extract(epoch from $1)/60)*60 AS "time"')
    .replace(/\$__timeFilter\((\w+)\)/g, "$1 BETWEEN now() - interval '1 hour' AND now()")
    .replaceAll('$' + '{device:sqlstring}', () => `'${device.replaceAll("'", "''")}'`)
}

t.test('the dashboard\'s SQL answers from the schema of the migrations', async (t) => {
  const { query } = await createTestDatabase(t)
  const device = "o'brien"
  await query(`insert into readings (device, time, hash, vitals, received_at) values
    ($1, now(), gen_random_uuid(), '{"heartRateValue": 61}', now()), ($1, now(), gen_random_uuid(), '{}', now())`, [device])
  await query(`insert into latest (device, time, oldest_time, vitals, vital_times)
    values ($1, now() - interval '1 day', now(), '{"heartRateValue": 61}', '{}')`, [device])
  await query(`insert into dead_letters (id, received_at, transport, device, reason, errors, payload)
    values (gen_random_uuid(), now(), 'mqtt', $1, 'invalid_json', '[]', '\\x00ff41')`, [device])
  const queries = [
    ...dashboard.templating.list.map((variable) => ({ title: 'variable', sql: variable.query })),
    ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.flatMap(({ rawSql }) =>
      rawSql === undefined ? [] : { title, sql: rawSql }))
  ]
  t.equal(queries.length, 6)
  for (const { title, sql } of queries) t.equal((await query(expandMacros(sql, device))).length, 1, title)
})

t.test('panels have ids of their own and do not overlap', (t) => {
  const { panels } = dashboard
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  const overlaps = panels.flatMap(({ title, gridPos: a }, index) => panels.slice(index + 1)
    .filter(({ gridPos: b }) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h)
    .map((other) => `${title} / ${other.title}`))
  t.strictSame(overlaps, [])
  t.ok(panels.every(({ gridPos }) => gridPos.x + gridPos.w <= 24))
  t.end()
})
