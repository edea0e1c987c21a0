import { setTimeout as sleep } from 'node:timers/promises'
import { findPostmaster } from '../../harness/process-stat.ts'
import type { Fault } from '../fault.ts'
import { createQuery, freeze } from '../../harness/own-postgres.ts'
import type { Rig } from '../rig/rig.ts'
import { endAccountOfOutage, recover } from './outage.ts'

/** A crash, or an immediate shutdown; back after up to 3 s. */
export async function stopForAWhile (rig: Rig, signal: 'SIGQUIT' | 'SIGKILL'): Promise<void> {
  await rig.ownPostgres.stop(signal)
  await sleep(rig.between(0, 3000))
  await rig.ownPostgres.start()
}

/** Freezes every process of PostgreSQL for `ms`. */
export async function hang (rig: Rig, ms: number): Promise<void> {
  const thaw = freeze(rig.clusterDir)
  try {
    await sleep(ms)
  } finally {
    thaw()
  }
}

const SESSIONS = 'from pg_stat_activity where application_name like \'vital-gateway%\' and datname = current_database()'

/** Ends half of the gateway's sessions again and again. */
export async function terminateSessions (rig: Rig, ms: number): Promise<void> {
  const untilMs = performance.now() + ms
  while (performance.now() < untilMs) {
    const [row] = await rig.query<{ count: string }>(
      `select count(pg_terminate_backend(pid)) ${SESSIONS} and hashint4(pid + $1) % 2 = 0`, [Math.floor(rig.between(0, 1e6))])
    rig.count('terminated', Number(row?.count))
    await sleep(rig.between(50, 150))
  }
}

/** New sessions cannot write for `ms`, and the old ones are ended. */
export async function forbidWrites (rig: Rig, ms: number): Promise<void> {
  // From the maintenance database, because a session of this one could not take it back.
  const alter = createQuery(rig.ownPostgres.url)
  const name = new URL(rig.databaseUrl).pathname.slice(1)
  await alter(`alter database ${name} set default_transaction_read_only = on`)
  try {
    if ((await rig.query(`select pg_terminate_backend(pid) ${SESSIONS}`)).length === 0) {
      rig.violate('expected',
        'no session was there to be terminated')
    }
    await sleep(ms)
    if ((await rig.scrape()).databaseUp) rig.violate('expected', 'the gateway takes a read-only database for one that it can write to')
  } finally {
    await alter(`alter database ${name} reset default_transaction_read_only`)
  }
}

export async function lockTable (rig: Rig, table: 'readings' | 'latest', seconds: number): Promise<void> {
  await rig.query(`begin; lock table ${table} in access exclusive mode; select pg_sleep(${seconds}); commit`)
}

/** Runs a lasting fault that keeps PostgreSQL away: readings sent meanwhile are acknowledged from the spool. */
async function endure (rig: Rig, strike: () => Promise<void>): Promise<void> {
  await rig.begin()
  await sleep(2000)
  const fromMs = Date.now()
  await strike()
  const toMs = Date.now()
  await recover(rig)
  await endAccountOfOutage(rig, fromMs, toMs)
}

export const killPostgres: Fault = {
  name: 'kill-postgres',
  summary: 'SIGKILL of the embedded postmaster under load; the gateway starts it again',
  database: 'embedded',
  cycles: { alone: 5, inAll: 3 },
  async run (rig) {
    await rig.begin()
    await rig.repeat(async () => {
      await sleep(rig.between(300, 2000))
      const pid = findPostmaster(rig.clusterDir)
      if (pid === null) throw new Error('the embedded PostgreSQL does not run')
      process.kill(pid, 'SIGKILL')
      await rig.until(() => findPostmaster(rig.clusterDir) !== pid && findPostmaster(rig.clusterDir) !== null, 30_000)
      await recover(rig)
    })
    await rig.endAccount()
  }
}

export const stopPostgresImmediate: Fault = {
  name: 'stop-postgres-immediate',
  summary: 'an immediate shutdown (pg_ctl stop -m immediate) or a SIGKILL under load, back after up to 3 s',
  database: 'own',
  cycles: { alone: 5, inAll: 3 },
  async run (rig) {
    await rig.begin()
    await rig.repeat(async (cycle) => {
      await sleep(rig.between(300, 2000))
      await stopForAWhile(rig, cycle % 2 === 1 ? 'SIGQUIT' : 'SIGKILL')
      await recover(rig)
    })
    await rig.endAccount()
  }
}

export const hangPostgres: Fault = {
  name: 'hang-postgres',
  summary: 'SIGSTOP of postmaster and backends: acknowledged from the spool within 2 s, no connection lost to keepalive',
  database: 'own',
  seconds: { alone: 60, inAll: 10 },
  async run (rig) {
    await endure(rig, () => hang(rig, rig.options.seconds * 1000))
  }
}

export const terminateBackend: Fault = {
  name: 'terminate-backend',
  summary: 'pg_terminate_backend on half of the gateway\'s sessions, ten times a second',
  database: 'own',
  seconds: { alone: 20, inAll: 8 },
  async run (rig) {
    await rig.begin()
    await terminateSessions(rig, rig.options.seconds * 1000)
    if (Number(rig.figures['terminated'] ?? 0) === 0) rig.violate('expected', 'no session was there to be terminated')
    await recover(rig)
    await rig.endAccount()
  }
}

export const readOnly: Fault = {
  name: 'read-only',
  summary: 'alter database … set default_transaction_read_only: readings go to the spool, none becomes a dead letter',
  database: 'own',
  seconds: { alone: 10, inAll: 6 },
  async run (rig) {
    await endure(rig, () => forbidWrites(rig, rig.options.seconds * 1000))
  }
}

export const lock: Fault = {
  name: 'lock',
  summary: 'LOCK TABLE readings, then latest, in a transaction that stays open: time-out, spool, recovery without a restart',
  database: 'own',
  seconds: { alone: 30, inAll: 6 },
  async run (rig) {
    await endure(rig, async () => {
      await lockTable(rig, 'readings', rig.options.seconds)
      await lockTable(rig, 'latest', rig.options.seconds)
    })
  }
}
