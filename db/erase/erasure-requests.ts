/**
 * Requests to erase a device, and the confirmations of gateways.
 *
 * Requests commit in the order of their ids, so that a gateway that has seen one has seen all before it. A request is
 * carried out by its coordinator, or by another gateway where the coordinator is gone.
 */
import { type Kysely, sql } from 'kysely'
import { GATEWAY_NAMES } from '../gateway-names.ts'
import type { Tables } from '../tables.ts'

export interface ErasureRequest {
  readonly id: number
  readonly device: string
  readonly actor: string
  /** application_name of the process that deletes. */
  readonly coordinator: string
}

/** A gateway that has not confirmed a request. */
export interface UnconfirmedGateway {
  readonly name: string
  readonly isConnected: boolean
  /** False where its version does not know requests, or where its start has not come that far. */
  readonly isRegistered: boolean
}

/**
 * Makes a gateway known.
 * @param id - UUID of its spool
 * @returns id of the last request that it has seen, where forgotten requests count as seen; 0: none
 */
export async function registerGateway (
  kysely: Kysely<Tables>, { id, name }: { readonly id: string, readonly name: string }
): Promise<number> {
  const { rows: [row] } = await sql<{ seen: number }>`
    with forgotten (through) as (
      select coalesce((select min(id) - 1 from erasures), (select max(request) from log_erasures), 0)
    )
    insert into gateways (id, name, seen_erasure) select ${id}, ${name}, through from forgotten
    on conflict (id) do update set name = excluded.name, started_at = now(), is_spool_empty = false,
      seen_erasure = greatest(gateways.seen_erasure, excluded.seen_erasure)
    returning seen_erasure as seen`.execute(kysely)
  return row!.seen
}

/** Notes that a gateway stops. Erasures do not wait for one with an empty spool. */
export async function leaveGateway (kysely: Kysely<Tables>, id: string, isSpoolEmpty: boolean): Promise<void> {
  await kysely.updateTable('gateways').set({ is_spool_empty: isSpoolEmpty }).where('id', '=', id).execute()
}

/** @returns its id, once it is committed */
export async function insertErasure (
  kysely: Kysely<Tables>, request: { readonly device: string, readonly actor: string, readonly coordinator: string }
): Promise<number> {
  return await kysely.transaction().execute(async (transaction) => {
    // Inserts take turns, readers do not wait. A reader that has seen an id would miss a smaller one committed later.
    await sql`lock table erasures in share row exclusive mode`.execute(transaction)
    const { id } = await transaction.insertInto('erasures').values(request).returning('id').executeTakeFirstOrThrow()
    return id
  })
}

/** Requests after one that was seen, oldest first; at most 1,000. */
export async function selectErasures (kysely: Kysely<Tables>, after: number): Promise<ErasureRequest[]> {
  return await kysely.selectFrom('erasures').select(['id', 'device', 'actor', 'coordinator'])
    .where('id', '>', after).orderBy('id').limit(1000).execute()
}

/** Which of these requests are done, or were forgotten since. */
export async function selectDoneErasures (kysely: Kysely<Tables>, ids: readonly number[]): Promise<number[]> {
  const rows = await kysely.selectFrom('erasures').select('id').where('id', 'in', ids).where('deleted_at', 'is', null).execute()
  const open = new Set(rows.map(({ id }) => id))
  return ids.filter((id) => !open.has(id))
}

/** Confirms requests: no reading that the gateway accepted before it read them will be stored any more. */
export async function confirmErasures (kysely: Kysely<Tables>, gateway: string, through: number): Promise<void> {
  await kysely.updateTable('gateways').set({ seen_erasure: through }).where('id', '=', gateway).execute()
}

/** Gateways on this database that have not confirmed a request. @param except - does not count */
export async function selectUnconfirmed (
  kysely: Kysely<Tables>, erasure: number, except: { readonly name: string, readonly id: string }
): Promise<UnconfirmedGateway[]> {
  const { rows } = await sql<UnconfirmedGateway>`
    with connected as (
      select distinct application_name as name from pg_stat_activity
      where datname = current_database() and application_name ~ ${GATEWAY_NAMES} and application_name <> ${except.name}
    )
    select name, exists (select from connected where connected.name = gateways.name) as "isConnected", true as "isRegistered"
    from gateways where seen_erasure < ${erasure} and not is_spool_empty and id <> ${except.id}
    union all
    select name, true, false from connected where not exists (select from gateways where gateways.name = connected.name)
    order by 1`.execute(kysely)
  return rows
}

/** Names of the gateways that have confirmed a request. */
export async function selectConfirmed (kysely: Kysely<Tables>, erasure: number): Promise<string[]> {
  const rows = await kysely.selectFrom('gateways').select('name').where('seen_erasure', '>=', erasure).orderBy('name').execute()
  return rows.map(({ name }) => name)
}

/**
 * Ends the sessions of a gateway that has not confirmed: a write that it has begun must not be committed later. It connects
 * again, and reads the requests before it writes.
 */
export async function endSessions (kysely: Kysely<Tables>, name: string): Promise<void> {
  await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = ${name} and usename = current_user`.execute(kysely)
}

/** @returns open requests: those taken over from coordinators that are gone, and its own that failed before */
export async function takeOverErasures (kysely: Kysely<Tables>, coordinator: string): Promise<ErasureRequest[]> {
  const { rows } = await sql<ErasureRequest>`
    update erasures set coordinator = ${coordinator}
    where deleted_at is null and (coordinator = ${coordinator} or coordinator not in (
      select application_name from pg_stat_activity where datname = current_database()))
    returning id, device, actor, coordinator`.execute(kysely)
  return rows
}

/** Deletes requests that are done and that no spool can need any more. */
export async function forgetErasures (kysely: Kysely<Tables>): Promise<void> {
  await sql`
    delete from erasures where deleted_at < now() - interval '1 day'
      and id <= (select coalesce(min(seen_erasure), 0) from gateways where not is_spool_empty)`.execute(kysely)
}
