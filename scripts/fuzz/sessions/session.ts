/** The protocol or the subject of a session. */
export const TARGETS = ['mqtt', 'mqtt5', 'payload', 'http', 'ws'] as const
export type Target = typeof TARGETS[number]

/**
 * How a session ends once all is written: closes its side and waits for the gateway to close the other; resets; is
 * destroyed at once; or stays and neither reads nor closes for a while.
 */
export type Fate = 'end' | 'reset' | 'destroy' | 'linger'

/** One connection of the fuzzer, made from its seed before it begins. */
export interface Session {
  readonly target: Target
  /** Each is a write of its own, in a turn of its own. */
  readonly pieces: readonly Buffer[]
  /** MQTT packets, or HTTP requests, whole or not. */
  readonly packets: number
  readonly fate: Fate
  /** From the last write to the end of the session. */
  readonly waitMs: number
  /** PUBACK and PUBREC packets that must come unless the gateway closes; 0 where it is unknown. */
  readonly acknowledgements: number
  /** Answers over HTTP after which it need not wait any longer; a broken request may swallow those behind it. */
  readonly answersMax: number
}

/** The value of every field that is private; it must not be in the gateway's log. */
export const PRIVATE_MARK = 'privatus'
