import type { ComponentChildren } from 'preact'
import { Badge } from '../badge.tsx'
import { toCount, toMs, toRate } from '../numbers.ts'
import { Refusals } from '../refusals.tsx'
import { gateway, state, useChanges } from '../store.ts'
import { Durability } from './durability.tsx'
import { Ledger } from './ledger.tsx'
import { Trend } from './trend.tsx'

export function GatewayView () {
  useChanges(500)
  const { flow, latest, trend } = gateway
  if (flow === null || latest === null) return <p class='muted'>Asking the gateway …</p>
  const [p50, p99] = [gateway.latencyS(0.5), gateway.latencyS(0.99)]
  return (
    <>
      <h2 class='unseen'>Gateway</h2>
      <div class='figures'>
        <Figure label='Readings received' value={toRate(gateway.rate('vital_readings_received_total') ?? 0)} unit='/s'>
          <Trend
            label='Readings received a second' toText={(value) => `${toRate(value)}/s`}
            points={trend.map(({ atS, receivedPerS }) => ({ atS, value: receivedPerS }))}
          />
        </Figure>
        <Figure
          label='Acknowledged within' value={p99 === null ? '–' : toMs(p99)}
          unit={p99 === null ? 'nothing in the last seconds' : `p99; median ${toMs(p50 ?? 0)}`}
        >
          <Trend
            label='Acknowledgement latency, 99th percentile' toText={toMs}
            points={trend.map(({ atS, p99S }) => ({ atS, value: p99S }))}
          />
        </Figure>
        <Figure label='Waiting in the spool' value={toCount(latest.spool.readings ?? 0)} unit='readings'>
          <Trend
            label='Readings in the spool' toText={toCount}
            points={trend.map(({ atS, waiting }) => ({ atS, value: waiting }))}
          />
        </Figure>
      </div>
      <div class='columns'>
        <Ledger flow={flow} startedAtS={latest.samples['vital_start_time_seconds'] ?? 0} />
        <Durability status={latest} />
      </div>
      <div class='columns'>
        <section>
          <h3>Refused messages</h3>
          <Refusals />
        </section>
        <section>
          <h3>Warnings</h3>
          {latest.warnings.length === 0 && <p class='muted'>None.</p>}
          <ul class='warnings'>
            {latest.warnings.map((warning) => <li key={warning}><Badge kind='warn'>Warning</Badge><p>{toSentence(warning)}</p></li>)}
          </ul>
          <h3>This gateway</h3>
          <dl class='facts'>
            <dt>Version</dt><dd>{state.config?.version}</dd>
            <dt>MQTT clients</dt><dd>{toCount(latest.samples['vital_mqtt_clients'] ?? 0)} connected, pages like this one included</dd>
          </dl>
        </section>
      </div>
    </>
  )
}

function Figure ({ label, value, unit, children }: {
  readonly label: string
  readonly value: string
  readonly unit: string
  readonly children: ComponentChildren
}) {
  return (
    <section class='panel figure'>
      <h3>{label}</h3>
      <p><span class='number'>{value}</span> <small>{unit}</small></p>
      {children}
    </section>
  )
}

/** A warning of the gateway is part of a sentence. */
const toSentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
