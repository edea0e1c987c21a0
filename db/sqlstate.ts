import { StorageError } from './storage-error.ts'

/**
 * What to do after a failed write:
 * - `retry`: nothing is wrong with the data; the same batch may succeed later, and until then the journal's next stage
 *   (the spool) keeps it. Unknown errors belong here: a gateway that must not lose readings waits for a person.
 * - `reject-row`: PostgreSQL will never take one of the rows; find it by bisection and store it as a dead letter.
 * - `give-up`: our own defect, or a {@link StorageError} that needs a person; neither a retry nor bisection helps.
 *   Leave the batch unacknowledged and log it.
 */
export type WriteFault = 'retry' | 'reject-row' | 'give-up'

/** By SQLSTATE, or by its first two characters (its class). All others are `retry`. */
const FAULTS: ReadonlyMap<string, WriteFault> = new Map([
  ['08', 'retry'], // connection_exception
  ['0A', 'retry'], // feature_not_supported: a plan cached before a migration; a new connection has none
  ['21', 'give-up'], // cardinality_violation: one key twice in an upsert
  ['22', 'reject-row'], // data_exception: \u0000 in text, numeric overflow, a date out of range
  ['22P03', 'retry'], // invalid_binary_representation: a column has another type than ours; no value of a row does this
  ['22P04', 'retry'], // bad_copy_file_format: the same
  ['23', 'reject-row'], // integrity_constraint_violation; 23502 not_null_violation: see isForeignColumn
  ['23505', 'retry'], // unique_violation: stored already; see isUniqueViolation
  ['25', 'retry'], // invalid_transaction_state: 25006 read_only_sql_transaction (a standby), 25P03
  ['26', 'retry'], // invalid_sql_statement_name: a pooler gave us another connection
  ['28', 'retry'], // invalid_authorization_specification: a password was changed
  ['3D', 'retry'], // invalid_catalog_name: the database is gone, or not there yet
  ['40', 'retry'], // transaction_rollback: 40001 serialization_failure, 40P01 deadlock_detected
  ['42', 'retry'], // undefined_table, undefined_column, insufficient_privilege: the schema was changed meanwhile
  ['42601', 'give-up'], // syntax_error
  ['42P02', 'give-up'], // undefined_parameter
  ['42P08', 'give-up'], // ambiguous_parameter
  ['42P18', 'give-up'], // indeterminate_datatype
  ['44', 'reject-row'], // with_check_option_violation
  ['53', 'retry'], // insufficient_resources: disk_full, out_of_memory, too_many_connections
  [
    '54', 'reject-row'
  ], // program_limit_exceeded: a value too large or too deep for jsonb, a key too large for its index; see isWraparound
  ['55', 'retry'], // object_not_in_prerequisite_state: 55P03 lock_not_available
  [
    '57', 'retry'
  ], // operator_intervention: 57014 query_canceled (statement_timeout), 57P01 admin_shutdown, 57P03 cannot_connect_now
  ['58', 'retry'], // system_error: io_error
  [
    'P0', 'reject-row'
  ], // P0001 raise_exception, P0002 no_data_found, P0004 assert_failure: a trigger that the operator added refuses the row
  ['XX', 'retry'] // internal_error: XX001 data_corrupted
])

/** Errors after which the server closes the connection, beside classes 08, 57P and XX. */
const FATAL: ReadonlySet<string> = new Set([
  '25P03', // idle_in_transaction_session_timeout
  '25P04' // transaction_timeout
])

/** Classifies an error of pg or Kysely. Lost connections and time-outs have no SQLSTATE: `retry`. */
export function classifyError (error: unknown): WriteFault {
  const state = toSqlState(error)
  if (state === null) return error instanceof StorageError || isOurDefect(error) ? 'give-up' : 'retry'
  if (isPartitionRace(error) || isForeignColumn(error) || isWraparound(error)) return 'retry'
  return FAULTS.get(state) ?? FAULTS.get(state.slice(0, 2)) ?? 'retry'
}

/** A row with this key is stored already: 23505, unique_violation. */
export function isUniqueViolation (error: unknown): boolean {
  return toSqlState(error) === '23505'
}

/** A value of another JSON type was cast to a number: 22023, invalid_parameter_value. */
export function isNotANumber (error: unknown): boolean {
  return toSqlState(error) === '22023'
}

/**
 * Whether PostgreSQL itself answered with the error and keeps the connection open for a ROLLBACK and more. After any
 * other error the client must be closed. (`severity` cannot decide this: it is translated by `lc_messages`.)
 */
export function isServerError (error: unknown): boolean {
  const state = toSqlState(error)
  return state !== null && !FATAL.has(state) && !/^(?:08|57P|XX)/.test(state)
}

/** The SQLSTATE of an error that PostgreSQL sent, or `null`. Node's `EPIPE` has the same form, but no severity. */
export function toSqlState (error: unknown): string | null {
  if (!(error instanceof Error)) return null
  const { code, severity } = error as Error & { code?: unknown, severity?: unknown }
  return typeof code === 'string' && typeof severity === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : null
}

/**
 * A row on its way into the default partition while the partition of its month is being created gets 23514
 * check_violation, without the name of a constraint, or with that of the check by which partitions.ts spares ATTACH its
 * scan. The next attempt finds the new partition.
 */
export function isPartitionRace (error: unknown): boolean {
  if (toSqlState(error) !== '23514') return false
  const { constraint } = error as { constraint?: string }
  return constraint === undefined || constraint.startsWith('readings_default_not_')
}

/** Columns that we write and that may not be null: a trigger can make them so, for one row. */
const OUR_COLUMNS: ReadonlySet<string> = new Set([
  'device', 'time', 'hash', 'vitals', 'received_at', 'oldest_time', 'vital_times', 'id', 'transport', 'reason', 'errors', 'payload'
])

/**
 * A column that was added without a default, or that a migration left unfinished, refuses every row until it is
 * repaired.
 */
function isForeignColumn (error: unknown): boolean {
  const { column } = error as { column?: string }
  // Without a column a trigger raised it.
  return toSqlState(error) === '23502' && column !== undefined && !OUR_COLUMNS.has(column)
}

/**
 * PostgreSQL gives out no more transaction ids until VACUUM has run: 54000, like a value that is too large. The name of
 * the routine tells them apart, because the message is translated.
 */
function isWraparound (error: unknown): boolean {
  return toSqlState(error) === '54000' &&
    /^GetNew(?:Transaction|MultiXact)Id/.test((error as { routine?: string }).routine ?? '')
}

function isOurDefect (error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError ||
    error instanceof SyntaxError
}
