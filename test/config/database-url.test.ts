import pg from 'pg'
import t from 'tap'
import { toDatabaseUrl } from '../../src/config/database-url.ts'
import { createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'

t.test('a URL that cannot work stops the start with a message without its password', (t) => {
  const cases: Array<[string, RegExp]> = [
    ['mysql://vital:secret@127.0.0.1/x', /begins with mysql:\/\/: the gateway stores in PostgreSQL only/],
    ['http://vital:secret@127.0.0.1/x', /begins with http:/],
    ['localhost:5432/x', /does not begin with postgres:\/\//],
    ['vital', /does not begin with postgres:\/\//],
    ['postgres://vital:sec/ret@127.0.0.1:5432/x', /cannot be read as a URL/],
    ['postgres://127.0.0.1:port/x', /cannot be read as a URL/],
    ['postgres://127.0.0.1/x?sslmode=prefer', /sslmode=prefer .* Say which: sslmode=verify-full/],
    ['postgres://127.0.0.1/x?sslmode=allow', /sslmode=allow/],
    ['postgres://127.0.0.1/x?sslmode=on', /sslmode=on .* must be one of disable, require/],
    ['host=127.0.0.1 port=54x2', /port=54x2 is not a port/],
    ['host=127.0.0.1 prot=5432', /does not know prot=; it knows host,/],
    ['host=127.0.0.1 port', /reads like libpq's .* from character 15 on/],
    ['host=a,b dbname=x', /several hosts/],
    ['host=127.0.0.1 sslmode=prefer', /sslmode=prefer/]
  ]
  for (const [url, message] of cases) {
    t.throws(() => createConfig({ DATABASE_URL: url }), { constructor: ConfigError, message }, url)
    try { createConfig({ DATABASE_URL: url }) } catch (error) { t.notMatch((error as Error).message, /secret|sec\/ret/) }
  }
  t.end()
})

t.test('a connection string in libpq\'s form is read as libpq reads it', (t) => {
  const read = (text: string) => {
    const { host, port, database, user, password } = new pg.Client(toDatabaseUrl(text))
    return { host, port, database, user, password }
  }
  t.match(read('host=127.0.0.1 port=5433 dbname=vital user=gateway password=secret'),
    { host: '127.0.0.1', port: 5433, database: 'vital', user: 'gateway', password: 'secret' })
  t.match(read(' host = /var/run/postgresql  dbname=\'a b\' user=u password=\'p\\\'@:/ q\\\\\''),
    { host: '/var/run/postgresql', port: 5432, database: 'a b', user: 'u', password: 'p\'@:/ q\\' })
  t.match(read('host=::1 user=a%20b password=%41'), { host: '::1', user: 'a%20b', password: '%41' })
  t.match(read('user=gateway'), { host: 'localhost', port: 5432, user: 'gateway' })
  t.match(new pg.Client(toDatabaseUrl('host=h sslmode=verify-full')), { ssl: {} })
  t.end()
})

t.test('URLs stay as they are', (t) => {
  const urls = ['postgres://vital@127.0.0.1:5432/x', 'postgresql://[::1]/x?sslmode=disable', 'socket:///run/postgresql?db=x',
    'postgres://vital@/x?host=/run/postgresql', '/run/postgresql vital', 'postgres://127.0.0.1/x?sslmode=no-verify']
  for (const url of urls) t.equal(createConfig({ DATABASE_URL: url }).databaseUrl, url)
  t.equal(createConfig({}).databaseUrl, null)
  t.end()
})
