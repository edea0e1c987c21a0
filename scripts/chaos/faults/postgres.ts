import { setTimeout as sleep } from 'node:timers/promises'
import { acknowledgedWithin } from '../check.ts'
import type { Fault } from '../fault.ts'
import { findPostmaster, readRssBytes } from '../../bench/process-stat.ts'
import { createQuery, freeze } from '../own-postgres.ts'
import type { Rig } from '../rig.ts'

/** The spool answers within 2 s; half a second is for a machine that does other things too. */
const SPOOLED_ACK_MS_MAX = 2500
const RECOVERY_TIMEOUT_MS = 90_000

/** Notes the time until PostgreSQL takes readings again and nothing waits in the spool. */
async function recover (rig: Rig, timeoutMs = RECOVERY_TIMEOUT_MS): Promise<void> {
  const tookMs = await rig.until(async () => {
    const { databaseUp, spoolReadings } = await rig.scrape()
    return databaseUp && spoolReadings === 0
  }, timeoutMs)
  if (tookMs === null) {
    rig.violate('C6', `PostgreSQL was there, and the gateway did not come back to it within ${timeoutMs} ms: ${JSON.stringify(await rig.scrape())}`)
  } else {
    rig.recovered(tookMs)
  }
}

export const killPostgres: Fault = {
  name: 'kill-postgres',
  summary: 'SIGKILL of the embedded postmaster under load; the gateway starts it again',
  database: 'embedded',
  cycles: 5,
  cyclesInAll: 3,
  seconds: 0,
  secondsInAll: 0,
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    for (let cycle = 1; cycle <= rig.options.cycles; cycle++) {
      await sleep(rig.between(300, 2000))
      const pid = findPostmaster(rig.clusterDir)
      if (pid === null) throw new Error('the embedded PostgreSQL does not run')
      process.kill(pid, 'SIGKILL')
      await rig.until(() => findPostmaster(rig.clusterDir) !== pid && findPostmaster(rig.clusterDir) !== null, 30_000)
      await recover(rig)
      rig.cycleDone()
    }
    await rig.endAccount()
  }
}

export const stopPostgresImmediate: Fault = {
  name: 'stop-postgres-immediate',
  summary: 'an immediate shutdown (pg_ctl stop -m immediate) or a SIGKILL under load, back after up to 3 s',
  database: 'own',
  cycles: 5,
  cyclesInAll: 3,
  seconds: 0,
  secondsInAll: 0,
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    for (let cycle = 1; cycle <= rig.options.cycles; cycle++) {
      await sleep(rig.between(300, 2000))
      await rig.ownPostgres.stop(cycle % 2 === 1 ? 'SIGQUIT' : 'SIGKILL')
      await sleep(rig.between(0, 3000))
      await rig.ownPostgres.start()
      await recover(rig)
      rig.cycleDone()
    }
    await rig.endAccount()
  }
}

/** Ends the account, and looks at what was sent while the fault lasted. */
async function endAccountOfOutage (rig: Rig, fromMs: number, toMs: number, ackMsMax = SPOOLED_ACK_MS_MAX): Promise<void> {
  const disconnects = (await rig.publisher.figures()).disconnects
  const ledger = await rig.endAccount()
  const { sent, acknowledged, p99Ms, slowestMs } = acknowledgedWithin(ledger, fromMs, toMs)
  rig.figures['outageSent'] = sent.length
  rig.figures['outageAckP99Ms'] = p99Ms
  rig.figures['outageAckSlowestMs'] = slowestMs
  if (acknowledged === 0) rig.violate('expected', 'nothing was acknowledged while PostgreSQL was away')
  if (slowestMs > ackMsMax) rig.violate('expected', `an acknowledgement took ${slowestMs} ms while PostgreSQL was away, more than ${ackMsMax} ms`)
  if (disconnects > 0) rig.violate('expected', `${disconnects} connections were lost while PostgreSQL was away`)
}

export const hangPostgres: Fault = {
  name: 'hang-postgres',
  summary: 'SIGSTOP of postmaster and backends: acknowledged from the spool within 2 s, no connection lost',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 60,
  secondsInAll: 10,
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    await sleep(2000)
    const fromMs = Date.now()
    const thaw = freeze(rig.clusterDir)
    try {
      await sleep(rig.options.seconds * 1000)
    } finally {
      thaw()
    }
    const toMs = Date.now()
    await recover(rig)
    await endAccountOfOutage(rig, fromMs, toMs)
    rig.cycleDone()
  }
}

export const longOutage: Fault = {
  name: 'long-outage',
  summary: 'PostgreSQL stopped at 5,000 readings/s: acknowledgements stay quick, memory flat, replay beside new traffic',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 60,
  secondsInAll: 30,
  load: { devices: 200, httpDevices: 8, ratePerS: 5000, window: 100 },
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    await sleep(3000)
    const fromMs = Date.now()
    await rig.ownPostgres.stop('SIGINT')
    await sleep(Math.min(5, rig.options.seconds / 2) * 1000)
    const earlyRss = readRssBytes(rig.gateway.pid) ?? 0
    await sleep(Math.max(0, fromMs + rig.options.seconds * 1000 - Date.now()))
    const lateRss = readRssBytes(rig.gateway.pid) ?? 0
    rig.figures['outageRssGrowthMiB'] = Math.round((lateRss - earlyRss) / 2 ** 20)
    const toMs = Date.now()
    const { spoolReadings, spoolBytes } = await rig.scrape()
    rig.figures['spooledReadings'] = spoolReadings
    rig.figures['spoolBytesPerReading'] = Math.round(spoolBytes / Math.max(1, spoolReadings))
    await rig.ownPostgres.start()
    const sentBefore = (await rig.publisher.figures()).sent
    const startMs = performance.now()
    await recover(rig, RECOVERY_TIMEOUT_MS + rig.options.seconds * 5000)
    const seconds = (performance.now() - startMs) / 1000
    rig.figures['replayedPerS'] = Math.round((await rig.scrape()).replayed / seconds)
    rig.figures['sentPerSWhileReplaying'] = Math.round(((await rig.publisher.figures()).sent - sentBefore) / seconds)
    await endAccountOfOutage(rig, fromMs, toMs)
    rig.cycleDone()
  }
}

const SESSIONS = 'from pg_stat_activity where application_name like \'vital-gateway%\' and datname = current_database()'

export const terminateBackend: Fault = {
  name: 'terminate-backend',
  summary: 'pg_terminate_backend on half of the gateway\'s sessions, ten times a second',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 20,
  secondsInAll: 8,
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    const untilMs = performance.now() + rig.options.seconds * 1000
    while (performance.now() < untilMs) {
      const [row] = await rig.query<{ count: string }>(
        `select count(pg_terminate_backend(pid)) ${SESSIONS} and hashint4(pid + $1) % 2 = 0`, [Math.floor(rig.between(0, 1e6))])
      rig.count('terminated', Number(row?.count))
      await sleep(rig.between(50, 150))
    }
    if (Number(rig.figures['terminated'] ?? 0) === 0) rig.violate('expected', 'no session was there to be terminated')
    await recover(rig)
    await rig.endAccount()
    rig.cycleDone()
  }
}

export const readOnly: Fault = {
  name: 'read-only',
  summary: 'alter database … set default_transaction_read_only: readings go to the spool, none becomes a dead letter',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 10,
  secondsInAll: 6,
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    await sleep(1000)
    // From the maintenance database, for a session of this one could not take it back.
    const alter = createQuery(rig.ownPostgres.url)
    const name = new URL(rig.databaseUrl).pathname.slice(1)
    const fromMs = Date.now()
    await alter(`alter database ${name} set default_transaction_read_only = on`)
    if ((await rig.query(`select pg_terminate_backend(pid) ${SESSIONS}`)).length === 0) rig.violate('expected', 'no session was there to be terminated')
    await sleep(rig.options.seconds * 1000)
    const toMs = Date.now()
    if ((await rig.scrape()).databaseUp) rig.violate('expected', 'the gateway takes a read-only database for one that it can write to')
    await alter(`alter database ${name} reset default_transaction_read_only`)
    await recover(rig)
    await endAccountOfOutage(rig, fromMs, toMs)
    rig.cycleDone()
  }
}

export const lock: Fault = {
  name: 'lock',
  summary: 'LOCK TABLE readings, then latest, in a transaction that stays open: time-out, spool, back by itself',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 30,
  secondsInAll: 6,
  async run (rig) {
    await rig.startGateway()
    await rig.beginAccount()
    await sleep(1000)
    const fromMs = Date.now()
    for (const table of ['readings', 'latest']) {
      await rig.query(`begin; lock table ${table} in access exclusive mode; select pg_sleep(${rig.options.seconds}); commit`)
    }
    const toMs = Date.now()
    await recover(rig)
    await endAccountOfOutage(rig, fromMs, toMs)
    rig.cycleDone()
  }
}
