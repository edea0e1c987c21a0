import { useEffect, useState } from 'preact/hooks'
import { askJson } from '../connection/api.ts'
import type { Device } from '../fleet/fleet-store.ts'
import { toTime } from '../times.ts'

interface Stored {
  readonly timestamp: number
  readonly vitals: Record<string, unknown>
  readonly receivedAt: number
}

/** The last payload of a device: as it came, or the newest reading as it is stored. */
export function LastPayload ({ id, device }: { id: string, device: Device | undefined }) {
  const [stored, setStored] = useState<Stored | null>(null)
  useEffect(() => {
    askJson<{ resources: Stored[] }>(`/vital-data/${encodeURIComponent(id)}/history?count=1`)
      .then(({ resources }) => { setStored(resources[0] ?? null) }, () => { /* Nothing is stored, or PostgreSQL is away. */ })
  }, [id])
  const payload = device?.payload ?? null
  if (payload !== null) return <pre tabIndex={0}><code>{format(payload)}</code></pre>
  if (stored === null) return <p class='muted'>None is known.</p>
  const { timestamp, vitals, receivedAt } = stored
  return (
    <>
      <pre tabIndex={0}><code>{JSON.stringify({ timestamp, ...vitals }, null, 2)}</code></pre>
      <p class='muted'>As it is stored; received {toTime(receivedAt)}.</p>
    </>
  )
}

/** With a line for each field; a payload that is too long to read is cut. */
function format (payload: string): string {
  if (payload.length > 20_000) return `${payload.slice(0, 20_000)} …`
  return JSON.stringify(JSON.parse(payload), null, 2)
}
