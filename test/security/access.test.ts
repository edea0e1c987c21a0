import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createAccess } from '../../src/security/access.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDir } from '../helpers/postgres.ts'

const logger = pino({ level: 'silent' })

async function create (t: Test, options: Partial<Parameters<typeof createAccess>[0]> = {}) {
  const file = options.file ?? join(await createTestDir(t), 'access.json')
  let closed = 0
  const access = createAccess({
    file,
    host: '127.0.0.1',
    isLoopback: true,
    isProxied: false,
    isAnonymousAllowed: false,
    hasOtherCredentials: false,
    logger,
    onClosed: () => { closed++ },
    ...options
  })
  await access.load()
  return { access, file, closed: () => closed }
}

t.test('no client is admitted before the mode is known; it is open without credentials, and closed by the first', async (t) => {
  const { access, file, closed } = await create(t)
  t.equal(access.mode, 'unknown')
  t.equal(access.warnings().length, 1)
  access.update(true)
  t.equal(access.mode, 'open')
  t.same(access.warnings(), [])
  access.update(true)
  access.update(false)
  access.update(false)
  t.equal(access.mode, 'closed')
  t.equal(closed(), 1)
  access.update(true)
  t.equal(access.mode, 'closed', 'the mode stays closed when principals are deleted')
  await access.stop()
  t.same(JSON.parse(await readFile(file, 'utf8')), { open: false })
  t.equal((await stat(file)).mode & 0o777, 0o600)
})

t.test('a start without PostgreSQL uses the remembered mode, until PostgreSQL answers', async (t) => {
  const first = await create(t)
  first.access.update(true)
  await first.access.stop()
  const second = await create(t, { file: first.file })
  t.equal(second.access.mode, 'open')
  second.access.update(false)
  t.equal(second.closed(), 1)
  await second.access.stop()
  const third = await create(t, { file: first.file })
  t.equal(third.access.mode, 'closed')
  third.access.update(true)
  t.equal(third.access.mode, 'open', 'another database')
  await third.access.stop()
  await writeFile(first.file, '{"open":"yes"}')
  t.equal((await create(t, { file: first.file })).access.mode, 'unknown')
})

t.test('open beyond loopback only when allowed, and with a warning', async (t) => {
  const exposed = await create(t, { host: '0.0.0.0', isLoopback: false })
  exposed.access.update(true)
  t.equal(exposed.access.mode, 'exposed')
  t.match(exposed.access.warnings(), exactly(/VITAL_ALLOW_ANONYMOUS/))
  exposed.access.update(false)
  t.equal(exposed.access.mode, 'closed')
  t.same(exposed.access.warnings(), [])
  const allowed = await create(t, { host: '0.0.0.0', isLoopback: false, isAnonymousAllowed: true })
  allowed.access.update(true)
  t.equal(allowed.access.mode, 'open')
  t.match(allowed.access.warnings(), exactly(/every client that reaches 0\.0\.0\.0 may publish and read/))
  const remembered = await create(t, { file: exposed.file, host: '0.0.0.0', isLoopback: false })
  await exposed.access.stop()
  t.not(remembered.access.mode, 'open')
})

t.test('open on loopback with trusted proxies is a warning, because they may bring clients of other machines', async (t) => {
  const { access } = await create(t, { isProxied: true })
  access.update(true)
  t.equal(access.mode, 'open')
  t.match(access.warnings(), exactly(/every client that reaches 127\.0\.0\.1 or a proxy of VITAL_TRUSTED_PROXIES may publish and read/))
  access.update(false)
  t.same(access.warnings(), [])
  await access.stop()
})

t.test('tokens or client certificates close the gateway without any principal', async (t) => {
  const { access } = await create(t, { hasOtherCredentials: true })
  t.equal(access.mode, 'closed')
  access.update(true)
  t.equal(access.mode, 'closed')
})
