import { useEffect, useRef, useState } from 'preact/hooks'
import { gatewayNowMs } from '../connection/api.ts'
import { followDevice, state } from '../store.ts'
import { loadHistory, refreshHistory, refreshIntervalMs, type Span } from './load-history.ts'
import { createTrack, type Track } from './track.ts'

/** The time that the charts show. */
export interface TimeWindow {
  readonly spanS: number
  /** Unix seconds in its middle; `null`: it ends now, and moves on. */
  readonly atS: number | null
}

/** A device's clock may be ahead of the gateway's. */
const AHEAD_S = 60
const RETRY_MS = 5000
/** Positions over the width of a chart; a live window moves by one at a time. */
const POSITIONS = 2000

/** Start and end of a window, at this instant. */
export function toSpan ({ spanS, atS }: TimeWindow): Span {
  if (atS !== null) return { fromS: atS - spanS / 2, toS: atS + spanS / 2 }
  const stepS = Math.max(0.25, spanS / POSITIONS)
  const toS = Math.ceil(gatewayNowMs() / 1000 / stepS) * stepS
  return { fromS: toS - spanS, toS }
}

interface Tracked {
  readonly track: Track
  readonly isLoading: boolean
  /** Why the history cannot be read now. */
  readonly error: string | null
}

/** The track of a device in a window: its history, and readings that arrive while it is shown. */
export function useTrack (id: string, { spanS, atS }: TimeWindow): Tracked {
  const [tracked, setTracked] = useState<Tracked>(() => ({ track: createTrack(null), isLoading: true, error: null }))
  const refresh = useRef(() => {})

  useEffect(() => {
    const abort = new AbortController()
    const { signal } = abort
    let timer: ReturnType<typeof setTimeout> | undefined
    /** Filled by the history and by live readings; `isLoaded` once the history has answered. */
    let track: Track | null = null
    let isLoaded = false
    const toAsk = (): Span => {
      const { fromS, toS } = toSpan({ spanS, atS })
      return { fromS, toS: atS === null ? toS + AHEAD_S : toS }
    }

    async function load (): Promise<void> {
      setTracked((before) => ({ ...before, isLoading: true }))
      const loaded = await loadHistory(id, toAsk(), signal, (begun) => { track = begun })
      isLoaded = true
      setTracked({ track: loaded, isLoading: false, error: null })
    }

    async function update (): Promise<void> {
      clearTimeout(timer)
      let waitMs = RETRY_MS
      try {
        if (!isLoaded || track === null) await load()
        else {
          const span = toAsk()
          await refreshHistory(id, track, span, signal)
          track.trim(span.fromS - spanS / 10)
          setTracked({ track, isLoading: false, error: null })
        }
        waitMs = refreshIntervalMs(track!)
      } catch (error) {
        if (signal.aborted) return
        const { message } = error as Error
        // Live readings are drawn without the history.
        setTracked((before) => ({ track: isLoaded || track === null ? before.track : track, isLoading: false, error: message }))
      }
      if (signal.aborted) return
      if (atS === null || !isLoaded) timer = setTimeout(refresh.current, waitMs)
    }

    refresh.current = () => { update().catch(reportError) }
    refresh.current()
    const unfollow = followDevice(id, ({ timestamp, device: _device, ...vitals }) => {
      if (atS === null && track?.bucketS === null && typeof timestamp === 'number') track.takeReading({ timestamp, vitals })
    })
    return () => {
      abort.abort()
      clearTimeout(timer)
      unfollow()
    }
  }, [id, spanS, atS])

  // After each reconnect the readings that were missed are asked for.
  const { connections } = state
  useEffect(() => { if (connections > 1) refresh.current() }, [connections])
  return tracked
}
