/** Why an MQTT connection ended: told in the log and in the event `disconnected`. */
export const CLOSE_REASONS = [
  /** The client sent DISCONNECT. */
  'disconnected',
  /** The client closed its socket, or the network did. */
  'lost',
  /** The client sent nothing for 1.5 times its keepalive. */
  'keepalive',
  /** Another connection has its client id now. */
  'taken_over',
  /** Its credentials have expired. */
  'expired',
  /** Its principal may not be connected any more. */
  'revoked',
  /** A packet that MQTT does not allow. */
  'malformed',
  /** A packet or topic over a limit. */
  'limit',
  /** A publish on a topic that its principal may not publish on. */
  'not_allowed',
  /** A publish could not be made durable. */
  'unavailable',
  /** Its socket took nothing for `drainTimeoutMs`. */
  'drain_timeout',
  /** Any other error that Aedes met. */
  'protocol_error',
  /** The gateway stops. */
  'stopping'
] as const

export type CloseReason = typeof CLOSE_REASONS[number]
