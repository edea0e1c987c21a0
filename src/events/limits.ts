import { EVENT_DEVICES_MAX } from '../../schemas/event.ts'

/** Every bound of the live events, with its reason. */
export const EVENTS_LIMITS = {
  /** Half of the HTTP sockets: the others are for devices and probes. */
  listenersMax: 2048,
  /** Of one principal with the role device: a stolen device must not take the places of the applications. */
  listenersPerDeviceMax: 16,
  /** Names in the filter of one listener, 200 bytes each in the index; a prefix is one name. */
  devicesPerListenerMax: EVENT_DEVICES_MAX,
  /** Events kept for listeners that read slowly or come back: 20 s at 2,000 readings of 200 bytes a second. */
  ringBytesMax: 8 * 1024 * 1024,
  /**
   * A page of the ring, and the most that is written to a socket at once. A socket that takes nothing holds two pages
   * and a part of a third. An event that is larger has a page of its own.
   */
  pageBytes: 16 * 1024,
  /** After the last listener has left, events are kept this long; a browser comes back within seconds. */
  catchUpMs: 120_000,
  /**
   * Events of this time leave in one write: a write costs some 10 µs a listener, however few bytes it has.
   */
  deliveryIntervalMs: 50,
  /** Longest that a delivery holds up the event loop; acknowledgements wait meanwhile. */
  turnMs: 2,
  /** After such a turn the next one waits for so many times as long: listeners get a third of the loop at most. */
  turnRest: 2,
  /** Events noted one by one for a listener of some devices; beyond, it searches the ring. */
  notedMax: 256,
  /** Events of the ring that one listener examines at a time, 10 to 20 ns each. */
  scannedMax: 10_000,
  /** Bytes that no socket has taken, of all listeners together; beyond, the listener that waited longest is closed. */
  unsentBytesMax: 32 * 1024 * 1024,
  /** A listener whose socket takes nothing for this long is closed, which frees its memory. */
  stalledMs: 30_000,
  /** Proxies close a connection that is silent for longer: nginx after 60 s, many load balancers after 30 s. */
  heartbeatMs: 15_000,
  /** Heartbeats, expired credentials and stalled sockets are checked at this interval. */
  checkIntervalMs: 1000,
  /** Time for a closed listener to take the rest; then its socket is destroyed. */
  endMs: 1000,
  /** A listener comes back after this time, at random between the two: a thousand of them come one by one. */
  retryMsMin: 1000,
  retryMsMax: 3000,
  /** The same where a request found no room, or its credentials cannot be verified now. */
  laterMsMin: 2000,
  laterMsMax: 6000
} as const

export type EventsLimits = { readonly [Name in keyof typeof EVENTS_LIMITS]: number }
