import { useRef, useState } from 'preact/hooks'
import { toAge, toClock, toTime } from '../times.ts'
import { toShown, VITAL_SIGNS, type VitalSign } from '../vital-signs.ts'
import type { Device } from '../fleet/fleet-store.ts'
import { fleet } from '../store.ts'
import { Chart } from './chart.tsx'
import type { Span } from './load-history.ts'
import type { Track, TrackPoint } from './track.ts'

/** Pulse rate is drawn with the heart rate. */
const CHARTED = VITAL_SIGNS.filter(({ id }) => id !== 'pulse')
const PULSE = VITAL_SIGNS.find(({ id }) => id === 'pulse')!
const DRAG_MIN_PX = 8
/** Shift and an arrow move the cursor by one of this many parts of the span. */
const KEY_STEP_PARTS = 10
const DAY_S = 86_400

interface ChartsProps {
  readonly device: Device | undefined
  readonly track: Track
  readonly span: Span
  readonly nowS: number
  readonly cursorS: number | null
  readonly setCursor: (atS: number | null) => void
  readonly zoom: (span: Span) => void
}

/** The signs that this device sends or sent: others have no chart. */
export function chartedOf (device: Device | undefined, track: Track): VitalSign[] {
  return CHARTED.filter((sign) => sign.fields.some((field) => typeof device?.vitals[field] === 'number') ||
    track.columnsOf(sign).x.length > 0)
}

/** One chart a vital sign, above each other, with one time axis, one cursor and the values under it. */
export function Charts ({ device, track, span, nowS, cursorS, setCursor, zoom }: ChartsProps) {
  const stack = useRef<HTMLDivElement>(null)
  const [dragFrom, setDragFrom] = useState<number | null>(null)
  const charted = chartedOf(device, track)
  const signs = charted.length === 0 ? CHARTED.slice(0, 1) : charted
  const spanS = span.toS - span.fromS

  /** The time under the pointer, the scale of the plots, and whether the pointer is over them. */
  const measure = (clientX: number) => {
    const over = stack.current!.querySelector('.u-over')!.getBoundingClientRect()
    const part = Math.min(1, Math.max(0, (clientX - over.left) / over.width))
    return { atS: span.fromS + part * spanS, pxPerS: over.width / spanS, isInside: clientX >= over.left - 4 }
  }
  const follow = (event: PointerEvent) => {
    const { atS, isInside } = measure(event.clientX)
    if (isInside) setCursor(atS)
  }
  const drop = (event: PointerEvent) => {
    if (dragFrom === null) return
    setDragFrom(null)
    const { atS, pxPerS } = measure(event.clientX)
    if (Math.abs(atS - dragFrom) * pxPerS < DRAG_MIN_PX) return
    zoom({ fromS: Math.min(atS, dragFrom), toS: Math.max(atS, dragFrom) })
  }
  const step = (event: KeyboardEvent) => {
    const direction = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : null
    if (event.key === 'Escape') setCursor(null)
    if (direction === null) return
    event.preventDefault()
    const fromS = cursorS ?? span.toS
    const next = event.shiftKey ? fromS + direction * spanS / KEY_STEP_PARTS : track.stepFrom(signs, fromS, direction)
    if (next !== null) setCursor(Math.min(span.toS, Math.max(span.fromS, next)))
  }
  return (
    <div
      class='charts' ref={stack} tabIndex={0} role='group' onKeyDown={step}
      aria-label='Charts. The arrow keys move the cursor from reading to reading.'
      onPointerMove={follow} onPointerUp={drop} onPointerCancel={() => { setDragFrom(null) }}
      onPointerDown={(event) => {
        follow(event)
        if (event.pointerType === 'mouse' && event.button === 0) setDragFrom(measure(event.clientX).atS)
      }}
      onPointerLeave={(event) => {
        if (event.pointerType !== 'mouse') return
        setDragFrom(null)
        setCursor(null)
      }}
    >
      {signs.map((sign, index) => (
        <section key={sign.id} class={`chart ${sign.id}`} aria-label={sign.name}>
          <Reading sign={sign} {...{ device, track, nowS, cursorS }} />
          <Chart sign={sign} track={track} span={span} isLast={index === signs.length - 1} />
          {track.columnsOf(sign).x.length === 0 && <p class='none muted'>No readings in this time.</p>}
        </section>
      ))}
      <Overlay {...{ span, cursorS, dragFrom }} />
    </div>
  )
}

/** The cursor over all charts, and the selection. Their layer lies exactly over the plots. */
function Overlay ({ span, cursorS, dragFrom }: { span: Span, cursorS: number | null, dragFrom: number | null }) {
  if (cursorS === null || cursorS < span.fromS || cursorS > span.toS) return null
  const toPart = (atS: number) => (atS - span.fromS) / (span.toS - span.fromS)
  const at = toPart(cursorS)
  const from = dragFrom === null ? at : toPart(dragFrom)
  const side = at > 0.5 ? { right: `${(1 - at) * 100}%` } : { left: `${at * 100}%` }
  return (
    <div class='overlay' aria-hidden='true'>
      {from !== at && <i class='selection' style={{ left: `${Math.min(at, from) * 100}%`, width: `${Math.abs(at - from) * 100}%` }} />}
      <i class='cursor' style={{ left: `${at * 100}%` }} />
      <b class='flag' style={side}>{toTime(cursorS)}</b>
    </div>
  )
}

interface ReadingProps {
  readonly sign: VitalSign
  readonly device: Device | undefined
  readonly track: Track
  readonly nowS: number
  readonly cursorS: number | null
}

/** Name of the sign, and its value: the one under the cursor, or else the latest. */
function Reading ({ sign, device, track, nowS, cursorS }: ReadingProps) {
  const latest = device === undefined ? null : toShown(sign, device, nowS)
  const point = cursorS === null ? null : track.pointAt(sign, cursorS)
  const isStale = cursorS === null && (latest === null || latest.isStale || latest.atS === null)
  const [left] = device === undefined || cursorS !== null ? [] : fleet.rangesLeft(device, sign, nowS)
  const text = cursorS === null ? latest?.text ?? '–' : toText(sign, point)
  return (
    <div class='reading'>
      <h3>{sign.label} <small>{sign.unit}</small></h3>
      <p class={isStale ? 'number stale' : 'number'}>{left === undefined ? text : <span class='out'>{text}</span>}</p>
      <p class='detail'>
        {left !== undefined && `limits ${left.join(' to ')} `}
        {cursorS === null
          ? <LatestDetail {...{ sign, device, nowS, isStale }} atS={latest?.atS ?? null} />
          : <CursorDetail {...{ sign, track, point, cursorS }} />}
      </p>
    </div>
  )
}

function toText (sign: VitalSign, point: TrackPoint | null): string {
  if (point === null) return '–'
  if (sign.lowField === undefined) return point.value?.toFixed(sign.digits) ?? '–'
  return `${point.high?.toFixed(sign.digits) ?? '–'}/${point.low?.toFixed(sign.digits) ?? '–'}`
}

function LatestDetail ({ sign, device, nowS, isStale, atS }: Omit<ReadingProps, 'track' | 'cursorS'> & {
  readonly isStale: boolean
  readonly atS: number | null
}) {
  const pulse = sign.id !== 'hr' || device === undefined ? null : toShown(PULSE, device, nowS)
  if (atS === null) return null
  if (isStale || sign.isOccasional === true) {
    const at = nowS - atS < DAY_S ? `at ${toClock(atS)}` : toTime(atS)
    return <time title={toTime(atS)}>{at}{isStale && `, ${toAge(nowS - atS)} ago`}</time>
  }
  return pulse === null || pulse.atS === null ? null : <span class='pulse'>PR {pulse.text}</span>
}

function CursorDetail ({ sign, track, point, cursorS }: Pick<ReadingProps, 'sign' | 'track'> & {
  readonly point: TrackPoint | null
  readonly cursorS: number
}) {
  if (track.bucketS !== null && sign.lowField === undefined && point !== null) {
    return <>{point.low!.toFixed(sign.digits)} to {point.high!.toFixed(sign.digits)}</>
  }
  if (point !== null && sign.isOccasional === true && track.bucketS === null) return <>at {toClock(point.atS)}</>
  const pulse = sign.id === 'hr' ? track.pointAt(PULSE, cursorS) : null
  return pulse?.value == null ? null : <span class='pulse'>PR {pulse.value.toFixed(0)}</span>
}
