import pg from 'pg'
import t from 'tap'
import { createDatabase } from '../../db/database.ts'
import { classifyError, isServerError, isUniqueViolation, toSqlState, type WriteFault } from '../../db/sqlstate.ts'
import { StorageError } from '../../db/storage-error.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { logger } from '../helpers/embedded.ts'

function answer (code: string, fields: object = {}): Error {
  return Object.assign(new Error('from the server'), { code, severity: 'FEHLER', ...fields })
}

const EXPECTED: ReadonlyArray<[code: string, fault: WriteFault, isServerError: boolean]> = [
  ['08006', 'retry', false], // connection_failure
  ['08P01', 'retry', false], // protocol_violation
  ['0A000', 'retry', true], // feature_not_supported
  ['21000', 'give-up', true], // cardinality_violation
  ['22003', 'reject-row', true], // numeric_value_out_of_range
  ['22008', 'reject-row', true], // datetime_field_overflow
  ['22P05', 'reject-row', true], // untranslatable_character
  ['22P03', 'retry', true], // invalid_binary_representation
  ['22P04', 'retry', true], // bad_copy_file_format
  ['23502', 'reject-row', true], // not_null_violation, raised by a trigger
  ['23505', 'retry', true], // unique_violation
  ['25006', 'retry', true], // read_only_sql_transaction
  ['25P03', 'retry', false], // idle_in_transaction_session_timeout
  ['28P01', 'retry', true], // invalid_password
  ['3D000', 'retry', true], // invalid_catalog_name
  ['40001', 'retry', true], // serialization_failure
  ['40P01', 'retry', true], // deadlock_detected
  ['42501', 'retry', true], // insufficient_privilege
  ['42601', 'give-up', true], // syntax_error
  ['42P01', 'retry', true], // undefined_table
  ['53100', 'retry', true], // disk_full
  ['53300', 'retry', true], // too_many_connections
  ['54001', 'reject-row', true], // statement_too_complex
  ['55P03', 'retry', true], // lock_not_available
  ['57014', 'retry', true], // query_canceled
  ['57P01', 'retry', false], // admin_shutdown
  ['57P03', 'retry', false], // cannot_connect_now
  ['58030', 'retry', true], // io_error
  ['54000', 'reject-row', true], // program_limit_exceeded
  ['P0001', 'reject-row', true], // raise_exception
  ['P0002', 'reject-row', true], // no_data_found
  ['XX001', 'retry', false], // data_corrupted
  ['ZZ999', 'retry', true] // unknown
]

t.test('errors of the server are classified by SQLSTATE, whatever its language', async (t) => {
  for (const [code, fault, isFromServer] of EXPECTED) {
    t.equal(classifyError(answer(code)), fault, code)
    t.equal(isServerError(answer(code)), isFromServer, `${code} from the server`)
  }
  t.equal(isUniqueViolation(answer('23505')), true)
  t.equal(isUniqueViolation(answer('23503')), false)
})

t.test('a check violation without a constraint is the race with a new partition', async (t) => {
  t.equal(classifyError(answer('23514')), 'retry')
  t.equal(classifyError(answer('23514', { constraint: 'readings_of_the_operator' })), 'reject-row')
})

t.test('a fault that an operator must correct is an outage, although its SQLSTATE is that of a refusal', async (t) => {
  t.equal(classifyError(answer('54000', { routine: 'GetNewTransactionId' })), 'retry', 'no transaction ids until VACUUM has run')
  t.equal(classifyError(answer('54000', { routine: 'GetNewMultiXactId' })), 'retry')
  t.equal(classifyError(answer('54000', { routine: '_bt_check_third_page' })), 'reject-row', 'a key too large for its index')
  t.equal(classifyError(answer('23502', { column: 'vitals' })), 'reject-row', 'a trigger that empties a column of ours')

  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger })
  t.teardown(() => database.close())
  const names = await query<{ name: string }>(`select attname as name from pg_attribute
    where attrelid = any('{readings,latest,dead_letters}'::regclass[]) and attnum > 0 and attnotnull and not atthasdef`)
  for (const { name } of names) t.equal(classifyError(answer('23502', { column: name })), 'reject-row', name)
  await query('alter table readings add column ward text not null')
  const error: unknown = await database.pool.query(`insert into readings (device, time, hash, vitals, received_at)
    values ('d', now(), gen_random_uuid(), '{}', now())`)
    .then(() => null, (error: unknown) => error)
  t.equal(toSqlState(error), '23502')
  t.equal(classifyError(error), 'retry', 'a column that an operator added')
})

t.test('an error without an answer of the server is retried, unless it is our own defect', async (t) => {
  for (const error of [
    Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
    Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }),
    new AggregateError([], 'connect'),
    new Error('Connection terminated unexpectedly'),
    new Error('timeout exceeded when trying to connect'),
    new Error('Query read timeout')
  ]) {
    t.equal(classifyError(error), 'retry', error.message)
    t.equal(isServerError(error), false)
    t.equal(toSqlState(error), null)
  }
  t.equal(classifyError(new TypeError('x is not a function')), 'give-up')
  t.equal(classifyError(new StorageError('VITAL_SCHEMA_NEWER', 'newer')), 'give-up')
  t.equal(classifyError('not even an error'), 'retry')
})

t.test('poison that PostgreSQL really refuses is a rejected row', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger })
  t.teardown(() => database.close())
  const insert = (device: string, time: string, vitals: string) =>
    database.pool.query('insert into readings values ($1, $2, gen_random_uuid(), $3, now())', [device, time, vitals])
  for (const [what, device, time, vitals] of [
    ['\\u0000 in jsonb', 'd', '2025-01-01', '{"a": "\\u0000"}'],
    ['NUL in text', 'd\0', '2025-01-01', '{}'],
    ['an absurd date', 'd', '300000-01-01', '{}'],
    ['a number beyond numeric', 'd', '2025-01-01', `{"a": 1e${'9'.repeat(8)}}`],
    ['nesting', 'd', '2025-01-01', `${'['.repeat(100_000)}${']'.repeat(100_000)}`]
  ] as const) {
    const error: unknown = await insert(device, time, vitals).then(() => null, (error: unknown) => error)
    t.ok(error instanceof pg.DatabaseError, what)
    t.equal(classifyError(error), 'reject-row', `${what}: ${toSqlState(error)}`)
    t.equal(isServerError(error), true)
  }
})
