/** Principals beside the devices of an account, some of them connected, that are revoked in one transaction. */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import { revokePrincipals } from '../../../db/queries/revoke-principals.ts'
import { CONNACK, FrameScanner } from '../../harness/packet-scanner.ts'
import { addIdentities, secretOf, withDatabase } from '../../harness/devices/identities.ts'
import { encodeConnect } from '../../harness/packet-encoder.ts'

/** A change of credentials counts on every gateway this long after its COMMIT. */
export const EFFECTIVE_WITHIN_MS = 3000
const CONNECT_TIMEOUT_MS = 10_000
const RETRY_MS = 200
const POLL_MS = 20
const LATE_TRIES = 4

export interface RevocationFigures {
  /** From the COMMIT that added them until the last of the connecting ones was let in. */
  readonly admittedMs: number
  /** From the COMMIT that revoked them until the last of their connections was closed; `null`: some stayed open. */
  readonly closedMs: number | null
  /** Logins of revoked principals that were let in once the change had to be known. */
  readonly late: number
}

/**
 * Adds `count` device principals, connects the first `connected` of them, and revokes all in one transaction.
 * @param how.ports - MQTT, of gateways whose database is up; the connections are dealt out to them
 * @param how.transactionMs - from the revocation to its COMMIT, at least
 * @throws Error when a client with a valid secret is refused
 */
export async function revokeBystanders (how: {
  readonly databaseUrl: string,
  readonly ports: readonly number[],
  readonly prefix: string
  readonly count: number,
  readonly connected: number,
  readonly transactionMs?: number
}): Promise<RevocationFigures> {
  const { databaseUrl, ports, prefix, count, connected, transactionMs = 0 } = how
  const portOf = (index: number) => ports[index % ports.length]!
  const ids = Array.from({ length: count }, (_, index) => `${prefix}-by${index}`)
  await addIdentities(databaseUrl, 'device', ids)
  const addedAtMs = performance.now()
  const sockets = await Promise.all(ids.slice(0, connected).map((id, index) => connectWithin(portOf(index), id)))
  const admittedMs = Math.round(performance.now() - addedAtMs)
  try {
    await withDatabase(databaseUrl, async ({ kysely }) => {
      await kysely.transaction().execute(async (transaction) => {
        const startMs = performance.now()
        await sql`set local idle_in_transaction_session_timeout = 0`.execute(transaction)
        await revokePrincipals(transaction, ids)
        await sleep(Math.max(0, transactionMs - (performance.now() - startMs)))
      })
    })
    const revokedAtMs = performance.now()
    const deadlineMs = revokedAtMs + 2 * EFFECTIVE_WITHIN_MS
    while (sockets.some((socket) => !socket.closed)) {
      if (performance.now() > deadlineMs) return { admittedMs, closedMs: null, late: await countLate(ids, portOf) }
      await sleep(POLL_MS)
    }
    const closedMs = Math.round(performance.now() - revokedAtMs)
    await sleep(Math.max(0, EFFECTIVE_WITHIN_MS - closedMs))
    return { admittedMs, closedMs, late: await countLate(ids, portOf) }
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

/** Tries to log in as some of the revoked principals, of those that were connected and of those that were not. */
async function countLate (ids: readonly string[], portOf: (index: number) => number): Promise<number> {
  const tried = [...ids.slice(0, LATE_TRIES), ...ids.slice(-LATE_TRIES)]
  const sockets = await Promise.all(tried.map((id, index) => connectOnce(portOf(index), id)))
  for (const socket of sockets) socket?.destroy()
  return sockets.filter((socket) => socket !== null).length
}

/** Tries again as a device does: a principal that was just added may be refused until the gateway has heard of it. */
async function connectWithin (port: number, id: string): Promise<Socket> {
  const deadlineMs = performance.now() + CONNECT_TIMEOUT_MS
  for (;;) {
    const socket = await connectOnce(port, id)
    if (socket !== null) return socket
    if (performance.now() > deadlineMs) throw new Error(`${id} has a good secret and was not let in within ${CONNECT_TIMEOUT_MS} ms`)
    await sleep(RETRY_MS)
  }
}

/** @returns `null` when CONNACK refuses, or the connection is lost before it */
function connectOnce (port: number, id: string): Promise<Socket | null> {
  return new Promise((resolve) => {
    const scanner = new FrameScanner()
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => { socket.destroy() })
    socket.on('connect', () => socket.write(encodeConnect(id, 0, { secret: secretOf(id) })))
    socket.on('data', (chunk: Buffer) => scanner.scan(chunk, chunk.length, (type, word) => {
      if (type !== CONNACK) return
      socket.setTimeout(0)
      if ((word & 255) === 0) return resolve(socket)
      socket.destroy()
    }))
    socket.on('error', () => { /* `close` follows. */ })
    socket.on('close', () => { resolve(null) })
  })
}
