import { gateway, play, state } from '../store.ts'

/** Tells that the recordings are being played, with a button that stops them. */
export function Playing () {
  if (gateway.latest?.isPlaying !== true || state.config?.mayPlay !== true) return null
  return (
    <p class='muted playing'>
      Recordings of real patients are being played.{' '}
      <button type='button' onClick={() => { play(false).catch(() => { /* The next status tells whether it went on. */ }) }}>
        Stop
      </button>
    </p>
  )
}
