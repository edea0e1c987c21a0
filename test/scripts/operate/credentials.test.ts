import { readFile, stat, writeFile } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { join } from 'node:path'
import { hash } from 'node:crypto'
import { verify } from '@node-rs/argon2'
import t, { type Test } from 'tap'
import { createEmptyDatabase, createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { runOperated, runOperatorScript } from '../../helpers/operator.ts'

const SECRET = /^vg_[\w-]{43}\n$/
const ACTOR = `cli:${userInfo().username}@${hostname()}`

async function open (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  const run = (...args: string[]) => runOperated('credentials', args, { DATABASE_URL: connectionString })
  return { connectionString, query, dir, run }
}

const digestsOf = (query: (text: string, values: unknown[]) => Promise<unknown[]>, id: string) => query(
  `select encode(secret_sha256, 'hex') as digest, extract(epoch from expires_at - now())::float8 as "leftS"
   from credentials where principal = $1 order by created_at`, [id])
const digest = (secret: string) => hash('sha256', secret.trim(), 'hex')

t.test('add, rotate, revoke, restore: only the secret on stdout, its hash in PostgreSQL, each act in the audit log', async (t) => {
  const { run, query } = await open(t)
  t.match(await run('list'), { status: 0, stdout: /^no principals: the gateway is open/ })

  const added = await run('add', 'ward 3', '--role', 'device')
  t.match(added, { status: 0, stdout: SECRET, stderr: /^added ward 3 as device[^]*This is the first/ })
  t.same(await digestsOf(query, 'ward 3'), [{ digest: digest(added.stdout), leftS: null }])
  t.match(await run('add', 'ward 3', '--role', 'admin'), {
    status: 1, stdout: '', stderr: 'ward 3 exists already, as device; rotate gives it a new secret'
  })
  const operator = await run('add', 'ann', '--role', 'operator')
  t.notMatch(operator.stderr, /This is the first/)

  const rotated = await run('rotate', 'ward 3', '--overlap', '24h')
  t.match(rotated, { status: 0, stdout: SECRET, stderr: /good for 86400 s more/ })
  const [old, fresh] = await digestsOf(query, 'ward 3') as Array<{ digest: string, leftS: number | null }>
  t.equal(old?.digest, digest(added.stdout))
  t.ok(Math.abs(old!.leftS! - 86_400) < 60)
  t.same(fresh, { digest: digest(rotated.stdout), leftS: null })
  t.match(await run('rotate', 'ann'), { status: 0, stdout: SECRET, stderr: /refused from now on/ })

  t.match(await run('revoke', 'ann', 'bob'), { status: 1, stdout: '', stderr: 'revoked ann\nthere is no principal bob; list shows all\n' })
  t.match(await run('revoke', 'ann'), { status: 1, stderr: /^ann is revoked already; restore/ })
  t.match(await run('rotate', 'ann'), { status: 1, stdout: '', stderr: /^vital-gateway credentials: ann is revoked already; restore/ })
  t.match(await run('add', 'ann', '--role', 'admin'), {
    status: 1, stdout: '', stderr: 'ann exists already, and is revoked; restore accepts it again'
  })
  t.match(await run('rotate', 'bob'), { status: 1, stdout: '', stderr: /^vital-gateway credentials: there is no principal bob/ })
  t.match((await run('list')).stdout, /^ann +operator +\S+Z +revoked \S+Z\nward 3 +device +\S+Z +secret until \S+Z, secret\n$/m)

  t.match(await run('restore', 'ward 3'), { status: 1, stdout: '', stderr: 'ward 3 is not revoked; rotate gives it a new secret' })
  const restored = await run('restore', 'ann')
  t.match(restored, { status: 0, stdout: SECRET })
  t.same(await digestsOf(query, 'ann'), [{ digest: digest(restored.stdout), leftS: null }], 'earlier secrets stay invalid')

  const acts = await query('select actor, act, target, details from audit_log order by id')
  t.strictSame(acts, [
    { actor: ACTOR, act: 'credentials.add', target: 'ward 3', details: { role: 'device' } },
    { actor: ACTOR, act: 'credentials.add', target: 'ann', details: { role: 'operator' } },
    { actor: ACTOR, act: 'credentials.rotate', target: 'ward 3', details: { overlapS: 86_400 } },
    { actor: ACTOR, act: 'credentials.rotate', target: 'ann', details: { overlapS: 0 } },
    { actor: ACTOR, act: 'credentials.revoke', target: 'ann', details: {} },
    { actor: ACTOR, act: 'credentials.restore', target: 'ann', details: {} }
  ])
  const { stdout: log } = await run('log', '--limit', '2')
  t.match(log,
    new RegExp(`^AT +ACTOR +ACT +TARGET +DETAILS\n\\S+Z +${ACTOR} +credentials\\.restore +ann\n\\S+Z +\\S+ +credentials\\.revoke +ann\n$`))
  t.match(JSON.parse((await run('log', '--target', 'ward 3', '--since', '1h', '--json')).stdout),
    [{ act: 'credentials.rotate' }, { act: 'credentials.add' }])
  const everything = JSON.stringify([await query('select * from principals'), await query('select * from audit_log'), (await run('list',
    '--json')).stdout, (await run('export')).stdout])
  for (const secret of [added, rotated, operator, restored]) {
    t.notOk(everything.includes(secret.stdout.trim()), 'no secret is stored or listed')
    t.notOk(everything.includes(digest(secret.stdout)), 'nor is its hash')
  }
})

t.test('import: CSV, a secret for each principal without a password, argon2id for the others, all or none', async (t) => {
  const { run, query, dir } = await open(t)
  const file = join(dir, 'devices.csv')
  const out = join(dir, 'devices.secrets.csv')
  await writeFile(file,
    'id,role,password\r\nband-1,,\r\n"bed, ""7""",device,\r\nann,operator,correct horse\r\n\r\nold-scale,device,"a,b""c 12"\r\n')
  const imported = await run('import', file)
  t.match(imported, {
    status: 0,
    stdout: '',
    stderr: /^the secrets of 2 are in .*devices\.secrets\.csv, which only you may read\nimported 4\nThis is the first/
  })
  t.equal((await stat(out)).mode & 0o777, 0o600)
  const [header, band, bed] = (await readFile(out, 'utf8')).trimEnd().split('\n')
  t.equal(header, 'id,role,secret')
  t.match(band, /^band-1,device,vg_[\w-]{43}$/)
  t.match(bed, /^"bed, ""7""",device,vg_[\w-]{43}$/)
  t.same(await digestsOf(query, 'bed, "7"'), [{ digest: digest(bed!.slice(-46)), leftS: null }])
  const [{ phc } = { phc: '' }] = await query<{ phc: string }>('select password_argon2id as phc from credentials where principal = \'ann\'')
  t.match(phc, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.ok(await verify(phc, 'correct horse'))
  const [scale] = await query<{ phc: string }>('select password_argon2id as phc from credentials where principal = \'old-scale\'')
  t.ok(await verify(scale!.phc, 'a,b"c 12'), 'quotes and commas')
  t.match(await query('select act, details from audit_log'),
    [{ act: 'credentials.import', details: { file: 'devices.csv', added: 4, secrets: 2, passwords: 2 } }])

  t.match(await run('import', file), {
    status: 2, stderr: /devices\.secrets\.csv exists already, and may hold secrets that are nowhere else/
  })
  t.match(await readFile(out, 'utf8'), band!, 'and is unchanged')
  const more = join(dir, 'more.jsonl')
  await writeFile(more, '{"id":"band-2"}\n{"id":"band-1","role":"device"}\n')
  t.match(await run('import', more), {
    status: 1, stderr: /^vital-gateway credentials: 1 of 2 exist already, so nothing was imported: band-1\./
  })
  t.match(await query('select id from principals where id = \'band-2\''), [])
  await t.rejects(stat(join(dir, 'more.secrets.jsonl')), 'no file with secrets that were not stored')
  t.match(await run('import', more, '--skip-existing', '--out', join(dir, 'x.jsonl')), {
    status: 0, stderr: /imported 1; 1 existed and were left/
  })
  t.match(JSON.parse(await readFile(join(dir, 'x.jsonl'), 'utf8')), { id: 'band-2', role: 'device', secret: /^vg_/ })

  const { stdout } = await run('export', '--role', 'device')
  t.match(stdout, new RegExp(`^${[
    'id,role,created_at,revoked_at,credentials',
    'band-1,device,\\S+Z,,secret',
    'band-2,device,\\S+Z,,secret',
    '"bed, ""7""",device,\\S+Z,,secret',
    'old-scale,device,\\S+Z,,password'
  ].join('\n')}\n$`))
  t.match((await run('export', '--json', '--role', 'operator')).stdout, /^\{"id":"ann","role":"operator",.*\}\n$/)
})

t.test('import refuses a faulty file and names the line', async (t) => {
  const { run, query, dir } = await open(t)
  const file = join(dir, 'f.csv')
  const refuse = async (text: string, message: RegExp) => {
    await writeFile(file, text)
    t.match(await run('import', file), { status: 2, stdout: '', stderr: message }, JSON.stringify(text))
  }
  await refuse('id,role\na/b,device\n__proto__,device\nc,nurse\n,device\nd,device\nd,device\n',
    new RegExp([
      'line 2: "a/b" cannot be an id', 'line 3: "__proto__"', 'line 4: "nurse" is not a role',
      'line 5: there is no id\nline 7: "d" stands on line 6 already\n'
    ].join('[^]*')))
  await refuse('id,password\na,short\n', /line 2: the password of "a" is shorter than 8 characters/)
  await refuse(`id,password\na,vg_${'x'.repeat(43)}\n`, /line 2: the password of "a" has the form of a generated secret/)
  await refuse('id,password\na,eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.x\n', /has the form of .* a token/)
  await refuse(`id,password\na,${'x'.repeat(1025)}\n`, /longer than 1024 bytes/)
  await refuse('id,rôle\na,device\n', /line 1: there is no column "rôle"/)
  await refuse('id\na,device\n', /line 2: has 2 columns, the first line names 1/)
  await refuse('id\n"a\n', /line 2: a quote is not closed/)
  await refuse('{"id":"a"}\n{"id":1}\n', /line 2: "id" must be a string/)
  await refuse('{"id":"a"}\nb\n', /line 2: is not a JSON object/)
  await refuse('id\n', /names no principal/)
  await refuse('', /names no principal/)
  await refuse(`id,role\n${Array.from({ length: 12 }, (_, n) => `${n}/,device`).join('\n')}`, /and 2 more\n/)
  t.match(await run('import', join(dir, 'none')), { status: 2, stderr: /none cannot be read/ })
  t.same(await query('select * from principals'), [])
})

t.test('5,000 devices are imported in one go, each with a secret of its own', async (t) => {
  const { run, query, dir } = await open(t)
  const file = join(dir, 'fleet.csv')
  await writeFile(file, `id\n${Array.from({ length: 5000 }, (_, index) => `band-${index}`).join('\n')}\n`)
  t.match(await run('import', file), { status: 0, stderr: /imported 5000/ })
  const lines = (await readFile(join(dir, 'fleet.secrets.csv'), 'utf8')).trimEnd().split('\n').slice(1)
  t.equal(lines.length, 5000)
  const [id = '', , secret = ''] = lines[4321]!.split(',')
  t.same(await digestsOf(query, id), [{ digest: digest(secret), leftS: null }])
  t.same(await query('select count(distinct secret_sha256)::int as secrets from credentials'), [{ secrets: 5000 }])
  t.equal((await run('export')).stdout.trimEnd().split('\n').length, 5001)
})

t.test('an error message says what to do', async (t) => {
  const { run } = await open(t)
  t.match(await run(), { status: 2, stderr: /^Usage: vital-gateway credentials .*\n[^]*Exit status/ })
  t.match(await run('delete', 'a'), { status: 2, stderr: /^vital-gateway credentials: unknown command 'delete'/ })
  t.match(await run('add', 'a'), { status: 2, stderr: /required option '--role <role>' not specified/ })
  t.match(await run('add', 'a', '--role', 'nurse'), {
    status: 2, stderr: /argument 'nurse' is invalid\. Allowed choices are device, operator/
  })
  t.match(await run('add', 'a/b', '--role', 'device'), { status: 2, stderr: /^vital-gateway credentials: "a\/b" cannot be an id: / })
  t.match(await run('add', 'a', 'b', '--role', 'device'), { status: 2, stderr: /too many arguments for 'add'/ })
  t.match(await run('rotate', 'a', '--overlap', '2y'), { status: 2, stderr: /^vital-gateway credentials: --overlap must be a time/ })
  t.match(await run('rotate', 'a', '--overlap', '53w'), { status: 2, stderr: /^vital-gateway credentials: --overlap must be/ })
  t.match(await run('revoke'), { status: 2 })
  t.match(await run('list', '--overlap', '1h'), { status: 2, stderr: /unknown option '--overlap'/ })
  t.match(await run('log', '--limit', '0'), { status: 2, stderr: /^vital-gateway credentials: --limit must be/ })
  t.match(await run('--help'), { status: 0, stdout: /vital-gateway credentials add ward-3/ })
  t.match(await runOperated('credentials', ['list'], { DATABASE_URL: 'postgres://vital:hunter2@127.0.0.1:1/vital' }), {
    status: 1,
    stdout: '',
    stderr: /^vital-gateway credentials: PostgreSQL of DATABASE_URL: [^]*ECONNREFUSED[^]*Is it running, and does DATABASE_URL name it\?\n$/
  })
  const { connectionString } = await createEmptyDatabase(t)
  t.match(await runOperated('credentials', ['list'], { DATABASE_URL: connectionString }), {
    status: 1, stderr: /has no tables of vital-gateway: start a gateway on it first/
  })
})

t.test('a credential can be added before the first start, so the gateway is never open', async (t) => {
  const { connectionString, query } = await createEmptyDatabase(t)
  t.match(await runOperated('credentials', ['add', 'ann', '--role', 'admin'], { DATABASE_URL: connectionString }), {
    status: 0, stdout: SECRET, stderr: /This is the first/
  })
  t.match(await query('select id, role from principals'), [{ id: 'ann', role: 'admin' }])
})

t.test('as a process: only the secret on stdout', async (t) => {
  const { connectionString, dir } = await open(t)
  const added = await runOperatorScript(t, 'credentials', ['add', 'ann', '--role', 'admin'], { DATABASE_URL: connectionString }, dir)
  t.match(added, { status: 0, stdout: SECRET, stderr: /^added ann as admin/ })
  const again = await runOperatorScript(t, 'credentials', ['add', 'ann', '--role', 'admin'], { DATABASE_URL: connectionString }, dir)
  t.match(again, {
    status: 1, stdout: '', stderr: 'vital-gateway credentials: ann exists already, as admin; rotate gives it a new secret\n'
  })
})

t.test('a time that PostgreSQL cannot hold, an option given twice, and a wrong header are errors', async (t) => {
  const { run, dir } = await open(t)
  for (const since of ['99999999d', '999999999w', '0001-01-01']) {
    t.match(await run('log', '--since', since), {
      status: 2, stderr: /^vital-gateway credentials: --since /
    }, since)
  }
  t.match(await run('add', 'a', '--role', 'device', '--role', 'admin'), { status: 2, stderr: /--role is given twice, and takes one value/ })
  const file = join(dir, 'devices.csv')
  for (const [header, why] of [
    ['id;role', 'there is no column "id;role"'], ['id,,role', 'the header has no name for column 2'],
    ['id,id', 'the header names "id" twice']
  ] as const) {
    await writeFile(file, `${header}\na\n`)
    t.match(await run('import', file), { status: 2, stderr: `devices.csv, line 1: ${why}` })
  }
})

t.test('revoke takes a file of ids; many are revoked in a few statements, each with a line in the audit log', async (t) => {
  const { run, query, dir } = await open(t)
  await query('insert into principals (id, role) select \'device-\' || n, \'device\' from generate_series(1, 12000) n')
  await query('insert into credentials (principal, kind, secret_sha256) select id, \'secret\', sha256(id::bytea) from principals')
  const file = join(dir, 'stolen.txt')
  await writeFile(file, `\uFEFF${Array.from({ length: 12_000 }, (_, index) => `device-${index + 1}`).join('\r\n')}\n\nnobody\n`)
  const { status, stderr } = await run('revoke', 'device-1', '--file', file)
  t.equal(status, 1)
  t.match(stderr, /^revoked device-1\n[^]*\nrevoked 12000 in all\nthere is no principal nobody; list shows all\n$/)
  t.match(await query('select count(*)::int as n, count(distinct target)::int as targets from audit_log where act = ' +
    '\'credentials.revoke\''), [{
    n: 12_000, targets: 12_000
  }])
  t.same(await query('select count(*)::int as n from credentials'), [{ n: 0 }])
  await writeFile(file, 'device-1\n\na/b\n')
  t.match(await run('revoke', '--file', file), { status: 2, stderr: /stolen.txt, line 3: "a\/b" cannot be an id/ })
  t.match(await run('revoke'), { status: 2, stderr: /one id or more, or --file/ })
})
