import { gateway, useChanges } from '../store.ts'
import { toCount } from '../vital-signs.ts'

export function GatewayView () {
  useChanges(500)
  const { flow, latest } = gateway
  if (flow === null || latest === null) return <p class='muted'>Asking the gateway …</p>
  return (
    <>
      <h2>Readings since the start of the gateway</h2>
      <p>
        {toCount(flow.received)} received = {toCount(flow.stored)} stored + {toCount(flow.duplicate)} duplicate
        {' '}+ {toCount(flow.deadLettered)} kept as dead letters + {toCount(flow.refused)} refused + {toCount(flow.pending)} pending
      </p>
      <h2>Warnings</h2>
      {latest.warnings.length === 0 && <p>None.</p>}
      <ul>{latest.warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>
    </>
  )
}
