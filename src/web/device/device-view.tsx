import { useEffect, useState } from 'preact/hooks'
import { Badge } from '../badge.tsx'
import { gatewayNowMs } from '../connection/api.ts'
import { STATES } from '../fleet/fleet-row.tsx'
import { Paste } from '../paste.tsx'
import { toCurlLine, toPublishLine, toSubscribeLine } from '../paste-lines.ts'
import { Refusals } from '../refusals.tsx'
import { fleet, listDevice, useChanges, useInView } from '../store.ts'
import { toAge, toTime } from '../times.ts'
import { Charts, chartedOf } from './charts.tsx'
import { LastPayload } from './last-payload.tsx'
import { TimeBar } from './time-bar.tsx'
import type { Track } from './track.ts'
import { type TimeWindow, toSpan, useTrack } from './use-track.ts'

const LIVE: TimeWindow = { spanS: 300, atS: null }
const ZOOM_MIN_S = 10
/** Bounds of the span that is shown around a time that was asked for. */
const GO_TO_SPAN_MIN_S = 3600
const GO_TO_SPAN_MAX_S = 86_400

const AVERAGES: Readonly<Record<number, string>> = {
  60: '1 minute', 300: '5 minutes', 900: '15 minutes', 3600: '1 hour', 86_400: '1 day'
}

/** The window is part of the address, so that a reload and a link show the same. */
function readWindow (): TimeWindow {
  const query = new URLSearchParams(location.hash.split('?')[1])
  const [spanS, atS] = [Number(query.get('span')), Number(query.get('at'))]
  return spanS > 0 ? { spanS, atS: atS > 0 ? atS : null } : LIVE
}

function keepWindow (id: string, { spanS, atS }: TimeWindow): void {
  const at = atS === null ? '' : `&at=${Math.round(atS)}`
  history.replaceState(null, '', `#/device/${encodeURIComponent(id)}?span=${Math.round(spanS)}${at}`)
}

function toSource ({ bucketS }: Track): string {
  return bucketS === null ? 'Each reading' : `Averages of ${AVERAGES[bucketS]}; the band reaches from the lowest to the highest`
}

export function DeviceView ({ id }: { id: string }) {
  useChanges(250)
  const [window, setWindow] = useState(readWindow)
  const [cursorS, setCursor] = useState<number | null>(window.atS)
  useInView([id])
  useEffect(() => { listDevice(id).catch(reportError) }, [id])
  useEffect(() => { keepWindow(id, window) }, [id, window])
  const { track, isLoading, error } = useTrack(id, window)
  const device = fleet.devices.get(id)
  const nowS = gatewayNowMs() / 1000
  const span = toSpan(window)
  const goTo = (atS: number) => {
    setWindow({ spanS: Math.min(GO_TO_SPAN_MAX_S, Math.max(GO_TO_SPAN_MIN_S, window.spanS)), atS })
    setCursor(atS)
  }
  const state = device === undefined ? 'normal' : fleet.stateOf(device, nowS)
  return (
    <>
      <div class='title'>
        <a class='back' href='#/'>← Fleet</a>
        <h2>{id}</h2>
        {state !== 'normal' && <Badge kind={STATES[state][0]}>{STATES[state][1]}</Badge>}
        <p class='muted'>{device === undefined || device.timestampS === 0
          ? 'No reading of this device is known.'
          : `Last reading ${toAge(nowS - device.timestampS)} ago, ${toTime(device.timestampS)}`}
        </p>
      </div>
      <TimeBar {...{ window, span, nowS, setWindow, goTo }} source={isLoading ? 'Asking …' : toSource(track)} />
      {error !== null && <p class='error' role='status'>The history cannot be read now: {error} Trying again.</p>}
      <Charts
        {...{ device, track, span, nowS, cursorS, setCursor }} zoom={({ fromS, toS }) => {
          setWindow({ spanS: Math.max(ZOOM_MIN_S, toS - fromS), atS: (fromS + toS) / 2 })
        }}
      />
      <Announcement {...{ device, track, cursorS }} />
      <div class='columns'>
        <section>
          <h3>Refused messages</h3>
          <Refusals device={id} />
          <h3>Last payload</h3>
          <LastPayload id={id} device={device} />
        </section>
        <section>
          <Paste label='Publish as this device, over MQTT'>{toPublishLine(id)}</Paste>
          <Paste label='Publish as this device, over HTTP'>{toCurlLine(id)}</Paste>
          <Paste label='Subscribe to this device'>{toSubscribeLine(id)}</Paste>
        </section>
      </div>
    </>
  )
}

/** The values under the cursor, for a screen reader. */
function Announcement ({ device, track, cursorS }: {
  readonly device: Parameters<typeof chartedOf>[0]
  readonly track: Track
  readonly cursorS: number | null
}) {
  const values = cursorS === null
    ? []
    : chartedOf(device, track).flatMap((sign) => {
      const point = track.pointAt(sign, cursorS)
      if (point === null) return []
      const value = point.value ?? point.high
      return [`${sign.name} ${value?.toFixed(sign.digits)}${sign.lowField === undefined ? '' : ` over ${point.low?.toFixed(0)}`} ` +
        `${sign.unit}`]
    })
  return (
    <p class='unseen' role='status'>
      {cursorS === null ? '' : `${toTime(cursorS)}: ${values.length === 0 ? 'no reading' : values.join(', ')}`}
    </p>
  )
}
