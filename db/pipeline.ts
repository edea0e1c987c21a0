/**
 * Several statements in one round trip and one transaction.
 *
 *   ──> (Parse) Bind Execute │ CopyData CopyDone │ (Parse) Bind Execute │ … │ Sync
 *   <── CommandComplete │ … │ ReadyForQuery
 *
 * Everything between two Syncs of the extended protocol is one transaction, which Sync commits: before ReadyForQuery nothing
 * is durable. After an error the server skips to Sync and rolls back. The data of a COPY leaves without waiting for
 * CopyInResponse: where the statement fails, the server drops it. So a batch waits for the server once, and not for each of
 * begin, copy, upsert and commit; behind a burst of acknowledgements on the one event loop, each wait cost milliseconds.
 * @see PostgreSQL manual, "Message Flow": "Extended Query", "Pipelining", "COPY Operations"
 */
import type { Connection, PoolClient, Submittable } from 'pg'

/** One statement of a pipeline. */
export interface Step {
  /** Constant, for it is prepared once a connection. */
  readonly sql: string
  /** Buffers go in binary format. */
  readonly parameters: readonly unknown[]
  /** The data of `copy … from stdin`. */
  readonly copyData?: Buffer
}

/** The fields of one row, as text. */
export type TextRow = ReadonlyArray<string | null>

/** Methods of pg's connection that its types leave out. */
interface CopyingConnection extends Connection {
  sendCopyFromChunk (chunk: Buffer): void
  endCopyFrom (): void
}

class Pipeline implements Submittable {
  /** pg wraps it for its `query_timeout`. */
  callback: (error: Error | null) => void
  readonly rows: TextRow[] = []
  readonly #steps: readonly Step[]
  #connection: Connection | null = null

  constructor (steps: readonly Step[], callback: (error: Error | null) => void) {
    this.#steps = steps
    this.callback = callback
  }

  submit (connection: Connection): void {
    this.#connection = connection
    const { stream } = connection
    stream.cork()
    for (const step of this.#steps) send(connection as CopyingConnection, step)
    connection.sync()
    stream.uncork()
  }

  handleDataRow ({ fields }: { fields: TextRow }): void {
    this.rows.push(fields)
  }

  /** The server reported it, and is about to roll back; or the connection is lost. */
  handleError (error: Error): void {
    this.callback(error)
  }

  /** Committed. pg comes here after an error, too, but no longer to this query. */
  handleReadyForQuery (): void {
    const known = preparedOn(this.#connection!)
    for (const { sql } of this.#steps) known.add(sql)
    this.callback(null)
  }

  handleRowDescription (): void {}
  handleCopyInResponse (): void {}
  handleCommandComplete (): void {}
  handlePortalSuspended (): void {}
  handleEmptyQuery (): void {}
}

function send (connection: CopyingConnection, { sql, parameters, copyData }: Step): void {
  const name = toStatementName(sql)
  if (!preparedOn(connection).has(sql)) {
    // It may be there: nobody tells which of the statements before an error were prepared. Closing what is not there is no error.
    connection.close({ type: 'S', name }, true)
    connection.parse({ name, text: sql, types: [] }, true)
  }
  connection.bind({ statement: name, values: parameters as string[] }, true)
  connection.execute(null, true)
  if (copyData === undefined) return
  connection.sendCopyFromChunk(copyData)
  connection.endCopyFrom()
}

const prepared = new WeakMap<Connection, Set<string>>()

/** Texts of the statements that a connection has prepared. */
function preparedOn (connection: Connection): Set<string> {
  let known = prepared.get(connection)
  if (known === undefined) {
    known = new Set()
    prepared.set(connection, known)
  }
  return known
}

const statementNames = new Map<string, string>()

/** There are as many texts as files in `queries/`. */
function toStatementName (sql: string): string {
  let name = statementNames.get(sql)
  if (name === undefined) {
    name = `vital_${statementNames.size + 1}`
    statementNames.set(sql, name)
  }
  return name
}

/**
 * Runs `steps` as one transaction, in one round trip.
 * @returns after COMMIT: the rows that they returned, in order
 * @throws PostgreSQL's error with its SQLSTATE, and nothing is stored; or another error, when the answer never came and the
 *   outcome is unknown
 */
export async function runPipeline (client: PoolClient, steps: readonly Step[]): Promise<readonly TextRow[]> {
  return await new Promise((resolve, reject) => {
    const pipeline = new Pipeline(steps, (error) => {
      if (error !== null) reject(error)
      // Whoever had the connection before left a transaction open, which Sync does not commit.
      else if (client.getTransactionStatus() !== 'I') reject(new Error('the connection was within a transaction'))
      else resolve(pipeline.rows)
    })
    client.query(pipeline)
  })
}
