import { useEffect, useState } from 'preact/hooks'
import { askJson } from './connection/api.ts'
import type { Refusal } from './fleet/fleet-store.ts'
import { quote } from './shell.ts'
import { state } from './store.ts'
import { toTime } from './times.ts'

const SHOWN = 20

const REASONS: Readonly<Record<string, string>> = {
  invalid_json: 'Not JSON',
  invalid_reading: 'Not a valid reading',
  device_mismatch: 'Of another device',
  invalid_topic: 'Topic of no device',
  database_rejected: 'PostgreSQL cannot hold it'
}

interface Letter {
  readonly id: string
  readonly receivedAt: number
  readonly deviceId: string | null
  readonly topic: string | null
  readonly reason: string
  readonly errors: ReadonlyArray<{ readonly path: string, readonly message: string }>
}

interface Shown extends Omit<Refusal, 'device'> {
  readonly device: string | null
  /** Of its dead letter, which holds the payload. */
  readonly letter: string | null
}

const toShown = ({ id, receivedAt, deviceId, topic, reason, errors }: Letter): Shown => ({
  device: deviceId ?? topic,
  atS: receivedAt,
  reason,
  message: errors.map(({ path, message }) => `${path} ${message}`.trim()).join('; '),
  letter: id
})

/** Live refusals that are not among the letters yet, and the letters; the newest first. */
function join (live: readonly Refusal[], letters: readonly Shown[]): Shown[] {
  const isKept = ({ device, atS }: Refusal) => letters.some((letter) => letter.device === device && Math.abs(letter.atS - atS) < 0.001)
  const fresh = live.filter((refusal) => !isKept(refusal)).map((refusal) => ({ ...refusal, letter: null }))
  return [...fresh, ...letters].sort((a, b) => b.atS - a.atS).slice(0, SHOWN)
}

/** Messages that were refused, with the reason: of one device, or of all. */
export function Refusals ({ device = null }: { device?: string | null }) {
  const [letters, setLetters] = useState<{ total: number, resources: readonly Letter[] } | null>(null)
  const [error, setError] = useState<string | null>(null)
  const live = device === null ? state.refusals : state.refusals.filter((refusal) => refusal.device === device)
  const newest = live[0]?.atS
  useEffect(() => {
    const query = device === null ? '' : `&device=${encodeURIComponent(device)}`
    askJson<{ total: number, resources: Letter[] }>(`/dead-letters?count=${SHOWN}${query}`)
      .then((answer) => {
        setLetters(answer)
        setError(null)
      }, (fault: Error) => { setError(fault.message) })
  }, [device, newest])

  const shown = join(live, (letters?.resources ?? []).map(toShown))
  const hidden = (letters?.total ?? 0) - shown.length
  return (
    <>
      {error !== null && <p class='error'>Earlier ones cannot be read now: {error}</p>}
      {shown.length === 0 && error === null && <p class='muted'>{letters === null ? 'Asking …' : 'None.'}</p>}
      {shown.length > 0 && (
        <ol class='refusals'>
          {shown.map((refusal) => (
            <Line key={refusal.letter ?? `${refusal.device} ${refusal.atS}`} refusal={refusal} isNamed={device === null} />
          ))}
        </ol>
      )}
      {hidden > 0 && (
        <p class='muted'>
          {hidden.toLocaleString('en')} older:{' '}
          <code>npx vital-gateway dead-letters list{device === null ? '' : ` --device ${quote(device)}`}</code>
        </p>
      )}
    </>
  )
}

function Line ({ refusal: { device, atS, reason, message, letter }, isNamed }: { refusal: Shown, isNamed: boolean }) {
  const [payload, setPayload] = useState<string | null>(null)
  const show = () => {
    askJson<{ text: string | null, payload: string }>(`/dead-letters/${letter}`)
      .then(({ text, payload }) => { setPayload(text ?? `base64: ${payload}`) }, (fault: Error) => { setPayload(fault.message) })
  }
  return (
    <li>
      <p>
        <time>{toTime(atS)}</time>
        {isNamed && device !== null && <a href={`#/device/${encodeURIComponent(device)}`}>{device}</a>}
        <b>{REASONS[reason] ?? reason}</b>
        {letter !== null && payload === null && <button type='button' class='quiet' onClick={show}>Show payload</button>}
      </p>
      {message !== '' && <p>{message}</p>}
      {payload !== null && <pre tabIndex={0}><code>{payload}</code></pre>}
    </li>
  )
}
