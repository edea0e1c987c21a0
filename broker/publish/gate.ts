/** Whether a connection is read. Each version of MQTT has its own. */
export interface Gate<C> {
  /** Set by the connection's constructor, before anything is read. */
  connection: C
  /** CONNACK is sent: the packets behind CONNECT may pass. */
  open (): void
  /** Stops at this client's next PUBLISH. @returns false when it already does */
  hold (): boolean
  /** Ends {@link Gate.hold}. */
  release (): void
  /** Nothing passes any more. */
  close (): void
}
