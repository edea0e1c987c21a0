import { useState } from 'preact/hooks'
import { Paste } from '../paste.tsx'
import { toCurlLine, toPublishLine } from '../paste-lines.ts'
import { gateway, play, state } from '../store.ts'

export function EmptyGateway () {
  const [error, setError] = useState<string | null>(null)
  const isPlaying = gateway.latest?.isPlaying === true
  return (
    <section class='panel empty'>
      <h2>No reading has arrived yet</h2>
      <p>Paste one of these into a terminal. The device appears here as soon as its reading is stored.</p>
      <Paste label='Over MQTT'>{toPublishLine('ward-3')}</Paste>
      <Paste label='Over HTTP'>{toCurlLine('ward-3')}</Paste>
      {state.config?.mayPlay === true && (
        <div class='play'>
          <h3>Or play recordings of real patients</h3>
          <p>The recordings that come with the gateway are published over MQTT, in real time and on a loop.</p>
          <button
            type='button' disabled={isPlaying} onClick={() => {
              play(true).catch((fault: Error) => { setError(fault.message) })
            }}
          >{isPlaying ? 'Starting …' : 'Play the recordings'}
          </button>
          {error !== null && <p class='error' role='alert'>{error}</p>}
        </div>
      )}
    </section>
  )
}
