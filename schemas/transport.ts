/** Transports of clients; a new one is added here. */
export const CLIENT_TRANSPORTS = ['mqtt', 'http', 'grpc'] as const
export type ClientTransport = typeof CLIENT_TRANSPORTS[number]

/**
 * `spool`: readings that an earlier run left in the spool. It counted their own transport. `kafka`: readings that a
 * sink takes from Kafka. Their gateway counted the transport.
 */
export const TRANSPORTS = [...CLIENT_TRANSPORTS, 'spool', 'kafka'] as const
export type Transport = typeof TRANSPORTS[number]
