import { toClock } from '../times.ts'

interface TrendProps {
  /** For a screen reader. */
  readonly label: string
  readonly points: ReadonlyArray<{ readonly atS: number, readonly value: number | null }>
  readonly toText: (value: number) => string
}

const HEIGHT = 56
const WIDTH = 300
/** Answers come every two seconds; the line ends where they are further apart than this. */
const GAP_S = 10

/** A number over the time since the page was opened, from 0 to its highest value. */
export function Trend ({ label, points, toText }: TrendProps) {
  const most = Math.max(0, ...points.map(({ value }) => value ?? 0))
  const [first, last] = [points[0], points.at(-1)]
  if (first === undefined || last === undefined || last.atS <= first.atS) return <p class='trend muted'>Two more seconds …</p>
  let path = ''
  let beforeS = -Infinity
  for (const { atS, value } of points) {
    if (value === null) continue
    const x = ((atS - first.atS) / (last.atS - first.atS) * WIDTH).toFixed(1)
    const y = (HEIGHT - 1 - (most === 0 ? 0 : value / most) * (HEIGHT - 2)).toFixed(1)
    path += `${atS - beforeS > GAP_S ? 'M' : 'L'}${x} ${y}`
    beforeS = atS
  }
  return (
    <figure class='trend'>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio='none' role='img' aria-label={`${label}, at most ${toText(most)}`}>
        <path d={path} vector-effect='non-scaling-stroke' />
      </svg>
      <figcaption><span>{toClock(first.atS)}</span><span>at most {toText(most)}</span><span>now</span></figcaption>
    </figure>
  )
}
