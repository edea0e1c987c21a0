import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'

/** A small machine fills so many in half a minute. */
const ROWS = 2_000_000
/** Of one statement: some ten seconds, within the time-out of a query. */
const ROWS_AT_ONCE = 500_000

export const hugeDefaultPartition: Fault = {
  name: 'huge-default-partition',
  summary: 'millions of readings of last year in readings_default and no partition: the start and writes do not wait',
  database: 'own',
  seconds: { alone: 90, inAll: 70 },
  async run (rig) {
    const rows = rig.options.rows ?? ROWS
    await rig.startGateway()
    await rig.stopGateway()
    const partitions = await rig.query<{ name: string }>(
      'select inhrelid::regclass::text as name from pg_inherits where inhparent = \'readings\'::regclass and inhrelid <> ' +
        '\'readings_default\'::regclass')
    for (const { name } of partitions) await rig.query(`drop table ${name}`)
    for (let from = 1; from <= rows; from += ROWS_AT_ONCE) {
      await rig.query(`insert into readings_default
        select 'huge-' || n % 1000, timestamptz '2025-01-01' + n * interval '1 s', gen_random_uuid(), '{"n":1}', now()
        from generate_series(${from}, ${Math.min(rows, from + ROWS_AT_ONCE - 1)}) n`)
    }
    await rig.query(`insert into latest (device, time, oldest_time, vitals, vital_times)
      select device, max(time), max(time), '{"n":1}', jsonb_build_object('n', extract(epoch from max(time)))
      from readings_default group by device`)
    // As the migration leaves it where there are readings already: they are rolled up beside the traffic.
    await rig.query('update rollup_state set built_from = closed_before')
    rig.figures['rows'] = rows
    await rig.startGateway()
    await rig.beginAccount()
    // The hourly task has its first turn a minute after the start.
    const untilMs = performance.now() + rig.options.seconds * 1000
    while (performance.now() < untilMs) {
      if (!(await rig.scrape()).databaseUp) rig.violate('expected', 'the circuit opened')
      await sleep(500)
    }
    await rig.endAccount()
    const [row] = await rig.query<{ count: string }>('select count(*) from pg_inherits where inhparent = \'readings\'::regclass')
    rig.figures['partitions'] = Number(row?.count)
  }
}
