/** Transports of readings; another one joins here. */
export const CLIENT_TRANSPORTS = ['mqtt', 'http', 'grpc'] as const
export type ClientTransport = typeof CLIENT_TRANSPORTS[number]

/** With `spool`: what an earlier run left in the spool; its own transport was counted then. */
export const TRANSPORTS = [...CLIENT_TRANSPORTS, 'spool'] as const
export type Transport = typeof TRANSPORTS[number]
