import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { EnvironmentSchema } from '../../../schemas/environment.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
const compose = read('compose.yaml')
const dockerfile = read('Dockerfile')

t.test('ports are published on loopback only', (t) => {
  const published = [...compose.matchAll(/^ +- "?((?:[\d.]+:)?\d+:\d+)"?$/gm)].map(([, port]) => port)
  t.strictSame(published, [
    '127.0.0.1:1883:1883', '127.0.0.1:3000:3000', '127.0.0.1:9090:9090', '127.0.0.1:3001:3000',
    '127.0.0.1:1883:1883', '127.0.0.1:3000:3000'
  ], 'the ports of the gateway, and those of HAProxy, which replaces it')
  t.equal(compose.match(/^ {4}ports:$/gm)?.length, 4, 'no port in another notation')
  t.equal(compose.match(/^ {4}ports: .*$/gm)?.join(), '    ports: []', 'and none on the line of its key')
  t.end()
})

t.test('every variable of .env reaches the gateway', (t) => {
  const fixed = [
    'DATABASE_URL', 'VITAL_DATA_DIR', 'VITAL_HOST', 'VITAL_ALLOW_ANONYMOUS', 'VITAL_MQTT_PORT', 'VITAL_HTTP_PORT', 'VITAL_MQTT_PLAINTEXT'
  ]
  const variables = /^ {6}((?:VITAL|DATABASE|REDIS|KAFKA)_(?!PASSWORD)\w+): \$\{(\w+):-\}$/gm
  const passed = [...compose.matchAll(variables)].map(([, name, from]) => name === from ? name : `${name} from ${from}`)
  t.strictSame(passed, Object.keys(EnvironmentSchema.properties).filter((name) => !fixed.includes(name)))
  t.end()
})

t.test('Prometheus of Debian 12 (2.42), which lacks storage.tsdb.retention, accepts the file', (t) => {
  t.notMatch(read('scripts/compose/prometheus/prometheus.yml'), /retention/)
  t.match(compose, /--storage\.tsdb\.retention\.time=15d/)
  t.end()
})

t.test('no password has a value in a file', (t) => {
  const passwords = [...compose.matchAll(/^ +(\w*PASSWORD(?!_FILE)\w*): (.*)$/gm)]
  t.equal(passwords.length, 15)
  // The passwords of profiles: an empty one stops the containers of the profile (several.test.ts, scale.test.ts).
  for (const [line, , value] of passwords) t.match(value, /^\$\{\w+_PASSWORD:(?:\?set \w+ in \.env|-\}$)/, line.trim())
  t.notMatch(compose, /:\/\/[^/\s@:]+:(?!\$\{)[^/\s@]+@/, 'and no URL has one')
  t.end()
})

t.test('every image is pinned, and every mounted file is there', (t) => {
  const images = [...compose.matchAll(/^ {4}image: (\S+)$/gm)].map(([, image]) => image ?? '')
  t.equal(images.length, 9)
  for (const image of images) t.match(image, /:v?\d/)
  const mounts = [...compose.matchAll(/^ +- \.\/(\S+?):\/\S+?(:ro)?$/gm)]
  t.equal(mounts.length, 32)
  for (const [line, path = '', mode] of mounts) {
    t.ok(existsSync(new URL(`../../../${path}`, import.meta.url)), line.trim())
    t.equal(mode, ':ro', line.trim())
  }
  t.end()
})

t.test('the image holds the inputs of the build, and runs the same as npm start', (t) => {
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
  const services = compose.slice(compose.indexOf('\nservices:'), compose.indexOf('\nvolumes:'))
    .split(/^ {2}(?=[\w-]+:(?: &\w+)?$)/m).slice(1)
  t.strictSame(services.map((service) => service.slice(0, service.indexOf(':'))),
    ['credentials', 'gateway', 'demo', 'demo-credentials', 'postgres', 'prometheus', 'grafana',
      'gateway-1', 'gateway-2', 'haproxy', 'redis', 'replication', 'postgres-replica', 'prometheus-several', 'grafana-several',
      'kafka-1', 'kafka-2', 'kafka-3', 'topics', 'gateway-1-scale', 'gateway-2-scale', 'sink-1', 'sink-2',
      'haproxy-scale', 'prometheus-scale', 'grafana-scale', 'flink-topic', 'flink-tables', 'flink'])
  const shared = /^x-gateway:[^]*?(?=^\S+:)/m.exec(compose.slice(compose.indexOf('x-gateway:')))?.[0] ?? ''
  /** The lines of a service, with those that it takes from another. */
  const settingsOf = (service: string): string => {
    const [, anchor] = /^ {4}<<: \*(\w+)$/m.exec(service) ?? []
    if (anchor === undefined || anchor === 'gateway') return anchor === undefined ? service : shared
    return settingsOf(services.find((other) => other.split('\n')[0]!.endsWith(` &${anchor}`)) ?? '')
  }
  for (const service of services) {
    const settings = settingsOf(service)
    t.match(settings, /cap_drop: \[ALL\]/)
    t.match(settings, /security_opt: \["no-new-privileges:true"\]/)
  }
  t.match(shared, /read_only: true/)
  t.match(dockerfile, /^USER node$/m)
  t.notMatch(compose, /VITAL_ALLOW_ANONYMOUS|privileged|network_mode|pid: host/)
  for (const name of ['prometheus', 'several']) {
    t.match(read(`scripts/compose/prometheus/${name}.yml`), /credentials_file: \/etc\/prometheus\/credentials\/secret/)
  }
  t.end()
})
