import { Badge } from '../badge.tsx'
import { toBytes, toCount, toRate } from '../numbers.ts'
import { gateway } from '../store.ts'
import { toTime } from '../times.ts'
import type { Status } from './gateway-state.ts'

/** Where an acknowledged reading is: in PostgreSQL, or on disk until it is back. */
export function Durability ({ status }: { status: Status }) {
  const { database, spool, samples } = status
  const sinceS = status.nowMs / 1000 - (database.downForS ?? 0)
  const waiting = spool.readings ?? 0
  const replayed = gateway.rate('vital_spool_replayed_readings_total') ?? 0
  const part = spool.bytesMax === 0 ? 0 : spool.bytes / spool.bytesMax
  return (
    <section class='durability'>
      <h3>Durability now</h3>
      <dl class='facts'>
        <dt>PostgreSQL</dt>
        <dd>
          {database.status === 'up'
            ? 'Takes readings.'
            : <><Badge kind='warn'>Away</Badge> Does not answer since {toTime(sinceS)}. It is tried again all the time.</>}
        </dd>
        <dt>Spool on disk</dt>
        <dd>
          {spool.status === 'absent' && 'There is none: without PostgreSQL nothing can be acknowledged.'}
          {spool.status === 'failed' && <><Badge kind='bad'>Failed</Badge> It cannot be written; the log has the cause.</>}
          {spool.status === 'full' && <><Badge kind='bad'>Full</Badge> Nothing more is acknowledged until PostgreSQL is back. </>}
          {(spool.status === 'ok' || spool.status === 'full') && (
            <>
              {waiting === 0
                ? `Empty, with room for ${toBytes(spool.bytesMax)}.`
                : <><b>{toCount(waiting)}</b> readings wait, {toBytes(spool.bytes)} of {toBytes(spool.bytesMax)}.</>}
              <progress value={part} max={1} aria-label='How full the spool is' />
            </>
          )}
        </dd>
        <dt>Replay</dt>
        <dd>
          {waiting === 0 && 'Nothing waits to be replayed.'}
          {waiting > 0 && database.status === 'down' && 'Begins when PostgreSQL is back.'}
          {waiting > 0 && database.status === 'up' && (
            <><Badge kind='told'>Replaying</Badge> {toRate(replayed)}/s{replayed > 0 && `, about ${toCount(waiting / replayed)} s left`}.</>
          )}
        </dd>
        <dt>Dead letters</dt>
        <dd>{toCount(samples['vital_dead_letters'] ?? 0)} kept, of {toCount(samples['vital_dead_letters_max'] ?? 0)} at most.</dd>
      </dl>
    </section>
  )
}
