/**
 * Several statements in one round trip and one transaction.
 *
 *   ──> (Parse) Bind Execute │ CopyData CopyDone │ (Parse) Bind Execute │ … │ Sync
 *   <── CommandComplete │ … │ ReadyForQuery
 *
 * Everything between two Syncs of the extended protocol is one transaction, which Sync commits: before ReadyForQuery
 * nothing is durable. After an error the server skips to Sync and rolls back. The data of a COPY leaves without waiting
 * for CopyInResponse: where the statement fails, the server drops it. So a batch waits for the server once, and not for
 * each of begin, copy, upsert and commit; behind a burst of acknowledgements on the one event loop, each wait cost
 * milliseconds.
 * @see PostgreSQL manual, "Message Flow": "Extended Query", "Pipelining", "COPY Operations"
 */
import { createHash } from 'node:crypto'
import type { Connection, PoolClient, Submittable } from 'pg'
import { BinaryWriter } from './binary.ts'
import { preludeOf } from '../session.ts'

/** A statement that is prepared once a connection. */
export interface Statement {
  readonly name: string
  readonly sql: string
}

/** One statement of a pipeline, with its data. */
export interface Step {
  readonly statement: Statement
  /** Number of its parameters. */
  readonly parameters: number
  /** Appends each of them, in binary format and behind its length. */
  readonly writeParameters?: (writer: BinaryWriter) => void
  /** Appends the data of `copy … from stdin`. */
  readonly writeCopyData?: (writer: BinaryWriter) => void
  /** First guess of the bytes that it takes. */
  readonly sizeBytes: number
}

/** The fields of one row, as text. */
export type TextRow = ReadonlyArray<string | null>

const TEXT = 0
const BINARY = 1

/** Bytes of the messages beside the data. */
const MESSAGES_BYTES = 1024

/** Made by {@link encodePipeline}, for {@link runPipeline}. */
class Pipeline implements Submittable {
  /** pg wraps it for its `query_timeout`. */
  callback!: (error: Error | null) => void
  /** pg reads it, and takes it instead of the pool's own. */
  readonly query_timeout: number | undefined
  readonly rows: TextRow[] = []
  readonly #statements: readonly Statement[]
  #messages: Buffer | null
  #connection: Connection | null = null

  constructor (statements: readonly Statement[], messages: Buffer, queryTimeoutMs: number | undefined) {
    this.#statements = statements
    this.query_timeout = queryTimeoutMs
    this.#messages = messages
  }

  submit (connection: Connection): void {
    this.#connection = connection
    if (connection.stream.writable) connection.stream.write(this.#messages!)
    // pg's own callback holds this object and is allocated in V8's old generation, so the messages would stay until the
    // next major collection.
    this.#messages = null
  }

  handleDataRow ({ fields }: { fields: TextRow }): void {
    this.rows.push(fields)
  }

  /** The server reported it, and is about to roll back; or the connection is lost. */
  handleError (error: Error): void {
    this.callback(error)
  }

  /** Committed. After an error pg no longer calls this query. */
  handleReadyForQuery (): void {
    const prepared = preparedOn(this.#connection!)
    for (const statement of this.#statements) prepared.add(statement)
    this.callback(null)
  }

  handleRowDescription (): void {}
  handleCopyInResponse (): void {}
  handleCommandComplete (): void {}
  handlePortalSuspended (): void {}
  handleEmptyQuery (): void {}
}

/** @param prepared - `null`: no statement is prepared, and none gets a name */
function append (writer: BinaryWriter, step: Step, prepared: ReadonlySet<Statement> | null): void {
  const { statement, parameters, writeParameters, writeCopyData } = step
  const name = prepared === null ? '' : statement.name
  if (prepared?.has(statement) !== true) prepare(writer, name, statement.sql)
  const bind = writer.startMessage('B')
  writer.cString('') // the portal
  writer.cString(name)
  writer.int16(1) // one format for all parameters:
  writer.int16(BINARY)
  writer.int16(parameters)
  writeParameters?.(writer)
  writer.int16(1) // one format for all columns of the result:
  writer.int16(TEXT)
  writer.endMessage(bind)

  const execute = writer.startMessage('E')
  writer.cString('')
  writer.int32(0) // all rows
  writer.endMessage(execute)

  if (writeCopyData === undefined) return
  const copyData = writer.startMessage('d')
  writeCopyData(writer)
  writer.endMessage(copyData)
  writer.emptyMessage('c') // CopyDone
}

function prepare (writer: BinaryWriter, name: string, sql: string): void {
  if (name !== '') {
    // The statement may exist: after an error it is unknown which of the statements before it were prepared. Closing a
    // statement that does not exist is not an error.
    const close = writer.startMessage('C')
    writer.cString(`S${name}`) // S: a statement
    writer.endMessage(close)
  }

  const parse = writer.startMessage('P')
  writer.cString(name)
  writer.cString(sql)
  writer.int16(0) // the server infers the types of parameters
  writer.endMessage(parse)
}

const preparedStatements = new WeakMap<Connection, Set<Statement>>()

/** The statements that a connection has prepared. */
function preparedOn (connection: Connection): Set<Statement> {
  let prepared = preparedStatements.get(connection)
  if (prepared === undefined) {
    prepared = new Set()
    preparedStatements.set(connection, prepared)
  }
  return prepared
}

const statements = new Map<string, Statement>()

/** @param sql - there are as many texts as files in `queries/`; the same text is the same statement */
export function toStatement (sql: string): Statement {
  let statement = statements.get(sql)
  if (statement === undefined) {
    // A hash and not a counter: another program, or another version of this one, may have prepared statements on the
    // same server connection.
    statement = { name: `vital_${createHash('sha256').update(sql).digest('hex').slice(0, 32)}`, sql }
    statements.set(sql, statement)
  }
  return statement
}

/** pg's client has the connection, but its types lack it. */
interface ConnectedClient extends PoolClient {
  readonly connection: Connection
}

/**
 * `steps` as messages for this client.
 * @param queryTimeoutMs - after which the answer is given up; without it, the pool's
 * @throws when a value cannot be written; nothing is sent then
 */
export function encodePipeline (client: PoolClient, steps: readonly Step[], queryTimeoutMs?: number): Pipeline {
  const prelude = preludeOf(client)
  const prepared = prelude === null ? preparedOn((client as ConnectedClient).connection) : null
  const writer = new BinaryWriter(steps.reduce((sum, { sizeBytes }) => sum + sizeBytes, MESSAGES_BYTES))
  if (prelude !== null && client.getTransactionStatus() === 'I') {
    append(writer, { statement: { name: '', sql: prelude }, parameters: 0, sizeBytes: 0 }, null)
  }
  for (const step of steps) append(writer, step, prepared)
  writer.emptyMessage('S') // Sync
  return new Pipeline(prepared === null ? [] : steps.map(({ statement }) => statement), writer.finish(), queryTimeoutMs)
}

/**
 * Runs a pipeline once, as one transaction, in one round trip.
 * @param left - `T` for a pipeline that begins a transaction and leaves it open
 * @returns after COMMIT: the rows that its statements returned, in order
 * @throws PostgreSQL's error with its SQLSTATE, and nothing is stored; or another error, when the answer never came and
 *   the outcome is unknown
 */
export async function runPipeline (
  client: PoolClient, pipeline: Pipeline, left: 'I' | 'T' = 'I'
): Promise<readonly TextRow[]> {
  let callback!: Pipeline['callback']
  const committed = new Promise<void>((resolve, reject) => {
    callback = (error) => { if (error === null) resolve(); else reject(error) }
  })
  pipeline.callback = callback
  client.query(pipeline)
  await committed
  // The previous user of the connection left a transaction open, which Sync does not commit.
  if (client.getTransactionStatus() !== left) {
    throw new Error(left === 'I' ? 'the connection was within a transaction' : 'the connection left its transaction')
  }
  return pipeline.rows
}
