/** Transports of readings; another one joins here. */
export const CLIENT_TRANSPORTS = ['mqtt', 'http', 'grpc'] as const
export type ClientTransport = typeof CLIENT_TRANSPORTS[number]

/**
 * With `spool`: what an earlier run left in the spool; its own transport was counted then. `kafka`: what a sink reads; its
 * gateway counted the transport.
 */
export const TRANSPORTS = [...CLIENT_TRANSPORTS, 'spool', 'kafka'] as const
export type Transport = typeof TRANSPORTS[number]
