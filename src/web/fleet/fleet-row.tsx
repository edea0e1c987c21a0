import { Badge } from '../badge.tsx'
import { fleet } from '../store.ts'
import { toAge, toClock, toTime } from '../times.ts'
import { toShown, VITAL_SIGNS, type VitalSign } from '../vital-signs.ts'
import { type Device, SPARK_POINTS, SPARK_STEP_S } from './fleet-store.ts'

const SHOWN = VITAL_SIGNS.filter(({ id }) => id !== 'pulse')
export const STATES = { refused: ['bad', 'Refused'], out: ['warn', 'Out of range'], silent: ['silent', 'Silent'] } as const

const toHref = (id: string): string => `#/device/${encodeURIComponent(id)}`

export function FleetRow ({ device, nowS, place }: { device: Device, nowS: number, place: number }) {
  const state = fleet.stateOf(device, nowS)
  return (
    <tr aria-rowindex={place} class={state} onClick={() => { location.hash = toHref(device.id) }}>
      <th scope='row' class='device'><a href={toHref(device.id)}>{device.id}</a></th>
      <td class='state'>{state !== 'normal' && <Badge kind={STATES[state][0]}>{STATES[state][1]}</Badge>}</td>
      {SHOWN.slice(0, 5).map((sign) => <Value key={sign.id} sign={sign} device={device} nowS={nowS} />)}
      <td class='spark'><Sparkline device={device} nowS={nowS} /></td>
      <td class='age'>{device.timestampS === 0
        ? '–'
        : <time title={toTime(device.timestampS)}>{toAge(nowS - device.timestampS)}</time>}
      </td>
    </tr>
  )
}

function Value ({ sign, device, nowS }: { sign: VitalSign, device: Device, nowS: number }) {
  const { text, isStale, atS } = toShown(sign, device, nowS)
  const at = atS !== null && sign.isOccasional === true ? <small>{toClock(atS)}</small> : null
  const look = atS === null ? 'missing' : isStale ? 'stale' : ''
  const [left] = fleet.rangesLeft(device, sign, nowS)
  return (
    <td class={`${sign.id} value ${look}`}>
      {left === undefined ? <span>{text}</span> : <span class='out' title={`Limits: ${left.join(' to ')}`}>{text}</span>}{at}
    </td>
  )
}

const WIDTH = 120
const HEIGHT = 24
/** Of the heart rate's axis. */
const SPAN_MIN = 40

function Sparkline ({ device, nowS }: { device: Device, nowS: number }) {
  const lastStep = Math.floor(nowS / SPARK_STEP_S)
  let [low, high] = [Infinity, -Infinity]
  for (const value of device.spark) {
    if (value < low) low = value
    if (value > high) high = value
  }
  if (low > high) return null
  const spare = Math.max(0, SPAN_MIN - (high - low)) / 2
  const [bottom, span] = [low - spare, high - low + 2 * spare]
  let path = ''
  let isDown = false
  for (let index = 0; index < SPARK_POINTS; index++) {
    const step = lastStep - SPARK_POINTS + 1 + index
    const isKept = step <= device.sparkStep && step > device.sparkStep - SPARK_POINTS
    const value = isKept ? device.spark[step % SPARK_POINTS]! : NaN
    if (Number.isNaN(value)) {
      isDown = false
      continue
    }
    const x = (index / (SPARK_POINTS - 1) * WIDTH).toFixed(1)
    const y = (HEIGHT - 2 - (value - bottom) / span * (HEIGHT - 4)).toFixed(1)
    // A lone point is a short stroke.
    path += isDown ? `L${x} ${y}` : `M${x} ${y}h.1`
    isDown = true
  }
  return <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden='true'><path d={path} /></svg>
}
