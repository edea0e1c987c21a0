/**
 * Settings that hold in each of our sessions, whatever ALTER ROLE, ALTER DATABASE or the URL's `options` say: COMMIT
 * waits for the disk, numbers leave with all of their digits, statements end in time.
 *
 * On a connection of our own they are set once. A pooler (PgBouncer in transaction mode and its like) offers no
 * session: each transaction may run on another server connection, which other programs use in between. A setting made
 * there would reach those programs, and a statement prepared on one connection is missing on the next. So the settings
 * go with each transaction, in the same round trip and for its time only, and no statement has a name.
 *
 * A pooler is recognised by the process id that it gave when the connection was made: it differs from that of the
 * server's process.
 */
import { Query, type ClientBase, type Connection, type QueryConfig } from 'pg'

/** Milliseconds; 0: none. */
export interface SessionTimeouts {
  /** For the first query of a connection. */
  readonly connectTimeoutMs: number
  readonly statementTimeoutMs: number
  readonly idleInTransactionTimeoutMs: number
}

/** Behind a pooler: the statement that begins each transaction. It returns no rows. */
const preludes = new WeakMap<object, string>()

/** The statement that begins a transaction on this client; `null`: none is needed, and statements may have names. */
export function preludeOf (client: ClientBase): string | null {
  return preludes.get(client) ?? null
}

function toSettings ({ statementTimeoutMs, idleInTransactionTimeoutMs }: SessionTimeouts, isLocal: boolean): string {
  const settings = {
    synchronous_commit: 'on',
    timezone: 'UTC',
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
    extra_float_digits: 1,
    datestyle: 'ISO',
    standard_conforming_strings: 'on',
    // Compiling a query of averages took ten times as long as running it.
    jit: 'off'
  }
  return `concat(${Object.entries(settings).map(([name, value]) => `set_config('${name}', '${value}', ${isLocal})`).join(', ')})`
}

/** pg's client has the process id, but its types lack it. */
type ConnectedClient = ClientBase & { readonly processID?: number | null }

/**
 * Applies the settings to a new connection. @returns whether a pooler stands before the server
 * @throws the error of pg
 */
export async function openSession (client: ConnectedClient, timeouts: SessionTimeouts): Promise<boolean> {
  const { processID } = client
  // Not as startup parameters, which poolers refuse. The condition does not depend on a row, so it is checked before
  // anything is set.
  const own = `select ${toSettings(timeouts, false)} where pg_backend_pid() = ${processID ?? 0}`
  // A pooler takes connections while its server is away; this part of connecting must end in time, too.
  const { rowCount } = await client.query({ text: own, query_timeout: timeouts.connectTimeoutMs } as QueryConfig)
  if (rowCount === 1) return false
  preludes.set(client, `select where ${toSettings(timeouts, true)} is null`)
  addPrelude(client)
  return true
}

/** The parts of pg's Query that its types leave out. */
interface Internals {
  readonly queryMode: string
  submit (connection: Connection): Error | null
  handleCommandComplete (message: unknown, connection: Connection): void
}

interface Wire {
  parse (message: { text: string, name: string, types: readonly number[] }): void
  bind (message: { portal: string, statement: string, values: readonly unknown[] }): void
  execute (message: { portal: string, rows: number }): void
}

type Callback = (error: Error | null, result: unknown) => void

const ExtendedQuery = Query as unknown as new (config: object, values: unknown, callback: Callback) => Internals

/** A query behind a prelude, in one transaction and one round trip. */
class PreludedQuery extends ExtendedQuery {
  readonly query_timeout: number | undefined
  readonly #prelude: string
  #isPreludeDone = false

  constructor (prelude: string, config: object, values: unknown, callback: Callback) {
    // The prelude and a message of the simple protocol would not be one transaction.
    super({ ...config, queryMode: 'extended' }, values, callback)
    this.query_timeout = (config as { query_timeout?: number }).query_timeout
    this.#prelude = prelude
  }

  override submit (connection: Connection): Error | null {
    const wire = connection as unknown as Wire
    wire.parse({ text: this.#prelude, name: '', types: [] })
    wire.bind({ portal: '', statement: '', values: [] })
    wire.execute({ portal: '', rows: 0 })
    return super.submit(connection)
  }

  override handleCommandComplete (message: unknown, connection: Connection): void {
    if (this.#isPreludeDone) super.handleCommandComplete(message, connection)
    else this.#isPreludeDone = true
  }
}

type Send = (query: unknown, values?: unknown, callback?: Callback) => unknown

/** Each query that begins a transaction is preceded by the prelude. Pipelines bring their own. */
function addPrelude (client: ClientBase): void {
  const send = client.query.bind(client) as Send
  const query: Send = (config, values, callback) => {
    const prelude = preludeOf(client)
    const isOurs = typeof config === 'object' && config !== null && 'submit' in config
    if (prelude === null || isOurs || client.getTransactionStatus() !== 'I') return send(config, values, callback)
    const settle = typeof values === 'function' ? values as Callback : callback
    const parameters = typeof values === 'function' ? undefined : values
    const of = (done: Callback) => new PreludedQuery(prelude, typeof config === 'string'
      ? { text: config }
      : config as object, parameters, done)
    if (settle !== undefined) return send(of(settle))
    return new Promise((resolve, reject) => {
      send(of((error, result) => { if (error === null || error === undefined) resolve(result); else reject(error) }))
    })
  }
  Object.assign(client, { query })
}
