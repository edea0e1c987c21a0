import type { Machine } from '../../harness/machine.ts'
import type { BenchOptions } from '../options.ts'
import type { Summary } from './report.ts'
import type { Spread } from '../../harness/statistics.ts'

const WIDTH = 960
const LABEL_WIDTH = 190
const VALUE_WIDTH = 250
const BAR_HEIGHT = 16
const ROW_GAP = 10
const PANEL_GAP = 30
const HEAD_HEIGHT = 74

/** One hue each, in dark, middle and light, so that they differ without colour vision too. */
const COLOURS: Readonly<Record<string, string>> = { measured: '#0b4f6c', reference: '#6ba3be', mosquitto: '#c9dbe4' }

interface Bar {
  readonly colour: string
  readonly spread: Spread
  readonly name: string
}

interface Row {
  readonly label: string
  readonly bars: readonly Bar[]
}

function escapeXml (text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function text (x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escapeXml(content)}</text>`
}

function format (value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** Decimals that leave two or three significant digits. */
function digitsOf (value: number): number {
  return value >= 100 ? 0 : value >= 10 ? 1 : 2
}

/** Bars from zero, each with a line from its smallest to its largest round and the figures beside it. */
function drawPanel (title: string, rows: readonly Row[], top: number, mark?: number): { readonly svg: string, readonly bottom: number } {
  if (rows.length === 0) return { svg: '', bottom: top }
  const max = Math.max(mark ?? 0, ...rows.flatMap(({ bars }) => bars.map(({ spread }) => spread.max)))
  const scale = (value: number) => LABEL_WIDTH + (max === 0 ? 0 : value / max) * (WIDTH - LABEL_WIDTH - VALUE_WIDTH)
  const parts = [text(16, top + 14, title, 'font-weight="bold" font-size="14"')]
  let y = top + 28
  const firstY = y
  for (const { label, bars } of rows) {
    parts.push(text(LABEL_WIDTH - 10, y + bars.length * BAR_HEIGHT / 2 + 4, label, 'text-anchor="end"'))
    for (const { colour, spread: { median, min, max: most }, name } of bars) {
      const middle = y + BAR_HEIGHT / 2
      parts.push(`<rect x="${LABEL_WIDTH}" y="${y + 1}" width="${(scale(median) - LABEL_WIDTH).toFixed(1)}" height="${BAR_HEIGHT - 2}" ` +
        `fill="${colour}"/>`)
      parts.push(`<path d="M${scale(min).toFixed(1)} ${middle}H${scale(most).toFixed(1)}M${scale(min).toFixed(1)} ${middle - 4}v8` +
        `M${scale(most).toFixed(1)} ${middle - 4}v8" stroke="#d1495b" stroke-width="1.5" fill="none"/>`)
      const digits = digitsOf(median)
      parts.push(text(scale(Math.max(median, most)) + 6, middle + 4,
        `${format(median, digits)} (${format(min, digits)} to ${format(most, digits)}) ${name}`, 'font-size="11"'))
      y += BAR_HEIGHT
    }
    y += ROW_GAP
  }
  if (mark !== undefined) {
    parts.push(`<path d="M${scale(mark).toFixed(1)} ${firstY - 4}V${y - ROW_GAP + 4}" stroke="#444" stroke-dasharray="3 3"/>`)
  }
  return { svg: parts.join('\n'), bottom: y + PANEL_GAP - ROW_GAP }
}

function toBar (name: string, colour: string | undefined, spread: Spread | null): Bar[] {
  return spread === null ? [] : [{ name, colour: colour ?? '#000', spread }]
}

/**
 * A chart of the figures as SVG: ratios, then rates, then latencies, then bytes; medians as bars, smallest and largest as lines.
 * @returns the text of a file, UTF-8
 */
export function toChart (
  summary: Summary, machine: Machine, options: Pick<BenchOptions, 'rounds' | 'measureMs' | 'store' | 'auth'>
): string {
  const measured = options.store === 'spool' ? 'spool' : options.auth ? 'with credentials' : 'gateway'
  const label = (entry: Summary[number]) => entry.metric === 'rate' || entry.metric === 'bytes'
    ? entry.workload
    : `${entry.workload} ${entry.metric}`
  // A ratio of latencies above 1 is worse, so beside ratios of rates it would mislead.
  const ratios = summary.filter(({ isGiven, metric }) => metric === 'rate' && !isGiven).map((entry) => ({
    label: label(entry),
    bars: [
      ...toBar(`of ${entry.referenceName}`, COLOURS['measured'], entry.ratio),
      ...toBar('of Mosquitto', COLOURS['mosquitto'], entry.ratioToMosquitto)
    ]
  }))
  const absolute = (unit: string) => summary.filter((entry) => entry.unit === unit && !entry.isGiven).map((entry) => ({
    label: label(entry),
    bars: [
      ...toBar(measured, COLOURS['measured'], entry.gateway),
      ...toBar(entry.referenceName, COLOURS['reference'], entry.reference),
      ...toBar('Mosquitto', COLOURS['mosquitto'], entry.mosquitto)
    ]
  }))
  const panels: Array<readonly [string, readonly Row[], number?]> = [
    [`Ratio of rates: ${measured} over reference, round by round (the dashed line is 1)`, ratios, 1],
    ['Readings a second', absolute('readings/s')],
    ['GETs a second', absolute('GETs/s')],
    ['Latency in ms, from when each was due', absolute('ms')],
    ['Resident bytes of an idle connection', absolute('bytes/connection')]
  ]
  const drawn: string[] = []
  let y = HEAD_HEIGHT
  for (const [title, rows, mark] of panels) {
    const { svg, bottom } = drawPanel(title, rows.filter(({ bars }) => bars.length > 0), y, mark)
    drawn.push(svg)
    y = bottom
  }
  const size = `width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}"`
  const { cpu, cores, node, commit } = machine
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
${text(16, 26, 'vital-gateway: what durability costs', 'font-size="18" font-weight="bold"')}
${text(16, 45, `${cpu}, ${cores} cores shared by generator, servers and PostgreSQL; node ${node}; commit ${commit}`)}
${text(16, 61, `${options.rounds} rounds of ${options.measureMs / 1000} s; bars are medians, red lines reach from the smallest to the ` +
  'largest round')}
${drawn.join('\n')}
</svg>
`
}
