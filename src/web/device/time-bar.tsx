import { toLocalField, toSpan as toSpanText, toZone } from '../times.ts'
import type { Span } from './load-history.ts'
import type { TimeWindow } from './use-track.ts'

const HOUR_S = 3600
const DAY_S = 86_400

const SPANS = [
  ['5 min', 300], ['1 h', HOUR_S], ['24 h', DAY_S], ['7 d', 7 * DAY_S], ['1 y', 365 * DAY_S]
] as const

interface TimeBarProps {
  readonly window: TimeWindow
  readonly span: Span
  readonly nowS: number
  /** What the charts are drawn from. */
  readonly source: string
  readonly setWindow: (window: TimeWindow) => void
  /** Shows the values of a time. */
  readonly goTo: (atS: number) => void
}

/** The time that is shown, and the controls to choose another one. */
export function TimeBar ({ window: { spanS, atS }, span, nowS, source, setWindow, goTo }: TimeBarProps) {
  const centreS = atS ?? (span.fromS + span.toS) / 2
  const move = (direction: number) => {
    const toS = centreS + direction * spanS * 0.5
    setWindow({ spanS, atS: toS + spanS / 2 >= nowS ? null : toS })
  }
  return (
    <div class='times'>
      <div class='ranges' role='group' aria-label='Span of time'>
        {SPANS.map(([label, seconds]) => (
          <button key={seconds} type='button' aria-pressed={spanS === seconds} onClick={() => { setWindow({ spanS: seconds, atS }) }}>
            {label}
          </button>
        ))}
      </div>
      <div class='ranges' role='group' aria-label='Move in time'>
        <button type='button' aria-label='Earlier' onClick={() => { move(-1) }}>←</button>
        <button type='button' aria-label='Later' disabled={atS === null} onClick={() => { move(1) }}>→</button>
        <button type='button' aria-pressed={atS === null} onClick={() => { setWindow({ spanS, atS: null }) }}>Live</button>
      </div>
      <label>Go to
        <input
          type='datetime-local' value={atS === null ? '' : toLocalField(atS)} max={toLocalField(nowS)}
          onChange={({ currentTarget: { value } }) => {
            // Without a zone it is local time.
            const at = Date.parse(value) / 1000
            if (!Number.isNaN(at)) goTo(at)
          }}
        />
        <span class='muted'>{toZone(atS ?? nowS)}</span>
      </label>
      <p class='muted'>{toSpanText(span.fromS, span.toS)} <span>{source}</span></p>
    </div>
  )
}
