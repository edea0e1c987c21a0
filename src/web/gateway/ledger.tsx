import { Badge } from '../badge.tsx'
import { toCount } from '../numbers.ts'
import { toTime } from '../times.ts'
import type { Flow } from './gateway-state.ts'

const ROW_PX = 44
const WIDTH = 100
/** A part that is not 0 can be seen. */
const PART_MIN_PX = 2

const PARTS = [
  ['stored', 'Stored', 'in PostgreSQL'],
  ['duplicate', 'Duplicate', 'sent again, stored once'],
  ['deadLettered', 'Dead letters', 'refused, and kept with the reason'],
  ['refused', 'Not kept', 'refused, and not kept'],
  ['pending', 'Pending', 'in memory, or in the spool']
] as const satisfies ReadonlyArray<readonly [keyof Flow, string, string]>

/** Where every reading went: each one that came in is stored, duplicate, refused or pending. */
export function Ledger ({ flow, startedAtS }: { flow: Flow, startedAtS: number }) {
  const difference = flow.received - PARTS.reduce((sum, [part]) => sum + flow[part], 0)
  const height = ROW_PX * PARTS.length
  const used = PARTS.filter(([part]) => flow[part] > 0).length
  const toPx = (count: number) => count === 0
    ? 0
    : PART_MIN_PX + count / Math.max(1, flow.received) * (ROW_PX - 8) * (1 - PART_MIN_PX * used / height)
  const total = PARTS.reduce((sum, [part]) => sum + toPx(flow[part]), 0)
  let fromPx = (height - total) / 2
  return (
    <section class='ledger'>
      <h3>Where every reading went</h3>
      <p class='muted'>Since the start of the gateway, {toTime(startedAtS)}</p>
      <div class='flow'>
        <p><b>{toCount(flow.received)}</b> received</p>
        <svg viewBox={`0 0 ${WIDTH} ${height}`} preserveAspectRatio='none' aria-hidden='true'>
          {PARTS.map(([part], index) => {
            const px = toPx(flow[part])
            const from = fromPx
            fromPx += px
            const to = ROW_PX * (index + 0.5) - px / 2
            const middle = WIDTH / 2
            const [fromEnd, toEnd] = [from + px, to + px]
            return (
              <path
                key={part} class={part}
                d={`M0 ${from}C${middle} ${from} ${middle} ${to} ${WIDTH} ${to}` +
                  `v${px}C${middle} ${toEnd} ${middle} ${fromEnd} 0 ${fromEnd}z`}
              />
            )
          })}
        </svg>
        <dl>
          {PARTS.map(([part, label, meaning]) => (
            <div key={part} class={flow[part] === 0 ? 'muted' : undefined}>
              <dt>{label} <small>{meaning}</small></dt>
              <dd>{toCount(flow[part])}</dd>
            </div>
          ))}
        </dl>
      </div>
      {difference === 0
        ? <p>It balances: the parts add up to what was received.</p>
        : (
          <p>
            <Badge kind='bad'>Does not balance</Badge> The parts differ from what was received by {toCount(difference)}. This is a defect.
          </p>
          )}
    </section>
  )
}
