import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EnvironmentSchema } from '../../schemas/environment.ts'
import { parseEnvironmentFile } from '../../src/config/environment-file.ts'
import { createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { LOADER, toProgram } from '../helpers/program.ts'

t.test('variables that Kubernetes sets for its services are ignored, with one notice', (t) => {
  const config = createConfig({
    VITAL_GATEWAY_SERVICE_HOST: '10.0.0.1',
    VITAL_GATEWAY_SERVICE_PORT: '1883',
    VITAL_GATEWAY_SERVICE_PORT_MQTT: '1883',
    VITAL_GATEWAY_PORT: 'tcp://10.0.0.1:1883',
    VITAL_GATEWAY_PORT_1883_TCP: 'tcp://10.0.0.1:1883',
    VITAL_GATEWAY_PORT_1883_TCP_PROTO: 'tcp',
    VITAL_GATEWAY_PORT_1883_TCP_PORT: '1883',
    VITAL_GATEWAY_PORT_1883_TCP_ADDR: '10.0.0.1',
    VITAL_PORT: 'tcp://10.0.0.2:80',
    VITAL_MQTT_PORT: '1884'
  })
  t.equal(config.mqttPort, 1884)
  t.equal(config.notices.length, 1)
  t.match(config.notices[0], /^VITAL_GATEWAY_SERVICE_HOST and 8 more .* enableServiceLinks: false/)
  t.strictSame(config.warnings, [], 'nothing weakens the promise')
  t.end()
})

t.test('a Kubernetes service with the name of one of our variables is explained', (t) => {
  t.throws(() => createConfig({ VITAL_MQTT_PORT: 'tcp://10.0.0.1:1883' }), {
    constructor: ConfigError,
    message: /VITAL_MQTT_PORT=tcp:.* set by Kubernetes, because a service is called vital-mqtt\..*enableServiceLinks: false/
  })
  t.throws(() => createConfig({ VITAL_GATEWAY_PORT: '1883' }), { message: /VITAL_GATEWAY_PORT is not a known name/ }, 'no link')
  t.end()
})

t.test('near misses of known names stop the start and are named', (t) => {
  const url = 'postgres://vital@127.0.0.1/x'
  const cases: Array<[Record<string, string>, string]> = [
    [{ DATABASE_URI: url }, 'DATABASE_URI is not a known name; did you mean DATABASE_URL?'],
    [{ DATABASEURL: url }, 'did you mean DATABASE_URL?'],
    [{ database_url: url }, 'did you mean DATABASE_URL?'],
    [{ DATABASE_URI: 'host=127.0.0.1 dbname=x' }, 'did you mean DATABASE_URL?'],
    [{ '\ufeffDATABASE_URL': url }, 'did you mean DATABASE_URL?'],
    [{ VITAL_DATABASE_URL: url }, 'did you mean DATABASE_URL?'],
    [{ VITAL_MQTT_PROT: '1884' }, 'did you mean VITAL_MQTT_PORT?'],
    [{ vital_mqtt_port: '1884' }, 'did you mean VITAL_MQTT_PORT?'],
    [{ VTIAL_HTTP_PORT: '1884' }, 'did you mean VITAL_HTTP_PORT?'],
    [{ VITAL_FOO: '1' }, 'VITAL_FOO is not a known name']
  ]
  for (const [variables, message] of cases) {
    t.throws(() => createConfig(variables), {
      constructor: ConfigError, message: new RegExp(message.replace('?', '\\?'))
    }, String(Object.keys(variables)[0]))
  }
  t.equal(createConfig({ DATABASE_URL: url, DATABASE_URI: 'postgres://other/y' }).databaseUrl, url, 'it may be of another program')
  t.doesNotThrow(() => createConfig({ DATABASE_URI: 'sqlite:///x.db', PATH: '/bin', DATABASE_USER: 'x' }))
  t.match(createConfig({ POSTGRES_URL: url }).notices, exactly(/POSTGRES_URL is not read: .* DATABASE_URL/))
  t.strictSame(createConfig({ POSTGRES_URL: url, DATABASE_URL: url }).notices, [])
  t.end()
})

t.test('.env is read with the encodings and line ends of every system', (t) => {
  const text = '# first\r\nDATABASE_URL=postgres://127.0.0.1/x\r\nVITAL_MQTT_PORT="1884"\r\nexport VITAL_HTTP_PORT=3001'
  const expected = { DATABASE_URL: 'postgres://127.0.0.1/x', VITAL_MQTT_PORT: '1884', VITAL_HTTP_PORT: '3001' }
  const utf16 = Buffer.from(`\ufeff${text}`, 'utf16le')
  t.match(parseEnvironmentFile(Buffer.from(text)), expected)
  t.match(parseEnvironmentFile(Buffer.from(text.replaceAll('\r\n', '\n'))), expected)
  t.match(parseEnvironmentFile(Buffer.from(`\ufeff${text.replace('# first\r\n', '')}`)), expected, 'the first line too')
  t.match(parseEnvironmentFile(utf16), expected)
  t.match(parseEnvironmentFile(Buffer.from(utf16).swap16()), expected)
  t.throws(() => parseEnvironmentFile(Buffer.from(text, 'utf16le')), { constructor: ConfigError, message: /Save it as UTF-8/ })
  t.throws(() => parseEnvironmentFile(Buffer.from('VITAL_HOST=caf\xe9', 'latin1')), {
    constructor: ConfigError, message: /Save it as UTF-8/
  })
  t.throws(() => parseEnvironmentFile(Buffer.from('A=1\nVITAL_MQTT_PORT: 1884\n')), {
    constructor: ConfigError, message: /line 2: write VITAL_MQTT_PORT=value/
  })
  for (const name of [...Object.keys(EnvironmentSchema.properties), 'VITAL_UNHEARD_OF']) {
    t.throws(() => parseEnvironmentFile(Buffer.from(`A=1\n${name} x\n`)), { message: new RegExp(`line 2: write ${name}=value`) }, name)
  }
  t.end()
})

t.test('.env with a byte order mark reaches the gateway, and a variable of the process takes precedence', async (t) => {
  const cwd = await createTestDir(t)
  writeFileSync(join(cwd, '.env'), '\ufeffVITAL_MQTT_PORT=1884\r\nVITAL_HTTP_PORT=3001\r\n')
  const module = toProgram('src/config/config.ts')
  const code = `import { createConfig, readEnvironment } from ${JSON.stringify(module)}
    const { mqttPort, httpPort } = createConfig(readEnvironment())
    process.stdout.write(JSON.stringify({ mqttPort, httpPort }))`
  const out = execFileSync(process.execPath, [...LOADER, '--input-type=module', '-e', code], {
    cwd, env: { PATH: process.env['PATH'], VITAL_HTTP_PORT: '3002' }
  })
  t.same(JSON.parse(out.toString()), { mqttPort: 1884, httpPort: 3002 })
})
