import { Badge, type BadgeKind } from '../badge.tsx'
import { gateway, state, useChanges } from '../store.ts'
import { toClock } from '../times.ts'
import { toCount, toMs, toRate } from '../numbers.ts'

interface Told {
  readonly badge: readonly [BadgeKind, string] | null
  readonly text: string
}

/** Whether readings are being stored now, in one sentence. */
function tell (): Told {
  if (state.phase === 'login') return { badge: null, text: 'Log in to see whether readings are being stored.' }
  const { latest, missingSinceMs } = gateway
  if (missingSinceMs !== null) {
    return {
      badge: ['bad', 'No answer'],
      text: `The gateway has not answered since ${toClock(missingSinceMs / 1000)}. Trying again. What is shown is from before.`
    }
  }
  if (latest === null) return { badge: null, text: 'Asking the gateway …' }
  const waiting = toCount(latest.spool.readings ?? 0)
  const sinceS = latest.nowMs / 1000 - (latest.database.downForS ?? 0)
  if (!latest.ready) {
    return {
      badge: ['bad', 'Cannot store'],
      text: 'Readings cannot be stored now; nothing is acknowledged, and devices keep their readings.'
    }
  }
  if (latest.database.circuit === 'open') {
    return {
      badge: ['warn', 'Spooling'],
      text: `Spooling to disk since ${toClock(sinceS)}: PostgreSQL does not answer, ${waiting} readings wait. Acknowledged ` +
        'readings are safe.'
    }
  }
  if (latest.database.status === 'down' || (latest.spool.readings ?? 0) > 0) {
    return { badge: ['told', 'Replaying'], text: `PostgreSQL is back; ${waiting} readings of the spool wait for it.` }
  }
  const rate = gateway.rate('vital_readings_stored_total') ?? 0
  const p99 = gateway.latencyS(0.99)
  const waits = p99 === null || rate === 0 ? '' : `, acknowledged in ${toMs(p99)} (p99)`
  const per = rate === 0 ? 'no reading in the last seconds' : `${toRate(rate)}/s`
  return { badge: null, text: `Storing in PostgreSQL, ${per}${waits}.` }
}

export function Sentence () {
  useChanges(500)
  const { badge, text } = tell()
  const cut = state.phase === 'open' && gateway.missingSinceMs === null ? state.cut : null
  return (
    <p class='sentence'>
      {badge !== null && <Badge kind={badge[0]}>{badge[1]}</Badge>}
      <span role='status'>{text}</span>
      {cut !== null && (
        <span class='muted'>
          Live readings do not come{cut}; {state.isLive ? 'what is shown is up to some seconds old' : 'trying again'}.
        </span>
      )}
    </p>
  )
}
