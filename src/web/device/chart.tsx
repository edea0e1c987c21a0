import UPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import { toTick } from '../times.ts'
import { type VitalSign, VITAL_SIGNS } from '../vital-signs.ts'
import { toAxisRange } from './axis-range.ts'
import type { Span } from './load-history.ts'
import type { Columns, Track } from './track.ts'

const HEIGHT = 100
const TIME_AXIS_HEIGHT = 26
const VALUE_AXIS_WIDTH = 44
/** Room for half a label above and below; a pixel at the right keeps a line whole. */
const PADDING: UPlot.Padding = [11, 1, 11, 0]
const AREA_ALPHA = 0.22
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'

/** Drawn into the chart of the heart rate: both are pulses. */
const PULSE = VITAL_SIGNS.find(({ id }) => id === 'pulse')!

const colours = new Map<string, string>()

/** A colour of the theme, by its name in the style sheet. */
function colourOf (name: string): string {
  let colour = colours.get(name)
  if (colour === undefined) {
    colour = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
    colours.set(name, colour)
  }
  return colour
}

const darkness = matchMedia('(prefers-color-scheme: dark)')
darkness.addEventListener('change', () => { colours.clear() })

const withAlpha = (hex: string): string => hex + Math.round(AREA_ALPHA * 255).toString(16).padStart(2, '0')

/** A point without a neighbour has no line, so it gets a dot. Where points are few, each gets one. */
const filterPoints = (u: UPlot, seriesIndex: number): number[] => {
  const values = u.data[seriesIndex]!
  const isFew = values.length < (u.width / 12)
  const alone: number[] = []
  for (let index = 0; index < values.length; index++) {
    if (values[index] == null) continue
    if (isFew || (values[index - 1] == null && values[index + 1] == null)) alone.push(index)
  }
  return alone
}

function toSeries (sign: VitalSign, isLine: boolean): UPlot.Series {
  const stroke = () => colourOf(sign.id)
  if (!isLine) return { stroke: 'transparent', width: 0, points: { show: false } }
  const points: UPlot.Series.Points = { show: true, size: 4, width: 0, fill: stroke, filter: filterPoints }
  return { stroke, width: 1.5, points }
}

function toOptions (sign: VitalSign, isLast: boolean, width: number): UPlot.Options {
  const hasPressure = sign.lowField !== undefined
  const grid: UPlot.Axis.Grid = { stroke: () => colourOf('line'), width: 1 }
  const axis: UPlot.Axis = { stroke: () => colourOf('muted'), font: FONT, grid, ticks: { show: false } }
  return {
    width,
    height: HEIGHT + (isLast ? TIME_AXIS_HEIGHT : 0),
    padding: PADDING,
    cursor: { show: false },
    legend: { show: false },
    scales: {
      x: { time: true, auto: false },
      y: { range: (_u, low, high) => toAxisRange(sign, low, high) }
    },
    axes: [
      {
        ...axis,
        size: isLast ? TIME_AXIS_HEIGHT : 0,
        gap: 6,
        space: 84,
        values: (_u, splits, _axis, _space, stepS) => splits.map((atS) => isLast ? toTick(atS, stepS) : '')
      },
      { ...axis, size: VALUE_AXIS_WIDTH, gap: 6, space: 26, values: (_u, splits) => splits.map((value) => toAxisValue(value, sign)) }
    ],
    series: [
      {},
      toSeries(sign, hasPressure),
      toSeries(sign, hasPressure),
      toSeries(sign, !hasPressure),
      ...(sign.id === 'hr' ? [{ ...toSeries(PULSE, true), width: 1, dash: [4, 3] }] : [])
    ],
    bands: [{ series: [2, 1], fill: () => withAlpha(colourOf(sign.id)) }]
  }
}

const toAxisValue = (value: number, { step }: VitalSign): string => value.toFixed(step < 1 ? 1 : 0)

function toData (columns: Columns, pulse: Columns | null): UPlot.AlignedData {
  const own = [columns.x, columns.low, columns.high, columns.value] as unknown as UPlot.AlignedData
  return pulse === null ? own : UPlot.join([own, [pulse.x, pulse.value] as unknown as UPlot.AlignedData])
}

interface ChartProps {
  readonly sign: VitalSign
  readonly track: Track
  readonly span: Span
  /** Shows the time axis that all charts share. */
  readonly isLast: boolean
}

/** One vital sign over time. */
export function Chart ({ sign, track, span: { fromS, toS }, isLast }: ChartProps) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<UPlot | null>(null)
  const drawn = useRef<{ columns: Columns, pulse: Columns | null } | null>(null)

  useEffect(() => {
    const element = place.current!
    const u = new UPlot(toOptions(sign, isLast, element.clientWidth), [[], [], [], [], ...(sign.id === 'hr' ? [[]] : [])], element)
    plot.current = u
    drawn.current = null
    const observer = new ResizeObserver(() => { u.setSize({ width: element.clientWidth, height: u.height }) })
    observer.observe(element)
    const repaint = () => { u.redraw() }
    darkness.addEventListener('change', repaint)
    return () => {
      observer.disconnect()
      darkness.removeEventListener('change', repaint)
      u.destroy()
      plot.current = null
    }
  }, [sign, isLast])

  useLayoutEffect(() => {
    const u = plot.current
    if (u === null) return
    const columns = track.columnsOf(sign)
    const pulse = sign.id === 'hr' ? track.columnsOf(PULSE) : null
    u.batch(() => {
      if (drawn.current?.columns !== columns || drawn.current.pulse !== pulse) {
        drawn.current = { columns, pulse }
        u.setData(toData(columns, pulse), false)
      }
      if (u.scales['x']!.min !== fromS || u.scales['x']!.max !== toS) u.setScale('x', { min: fromS, max: toS })
      else u.redraw()
    })
  })
  return <div ref={place} class='plot' />
}
