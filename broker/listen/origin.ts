/** Where a connection comes from. */
export interface Origin {
  /** As the client speaks it: `tls` also where a trusted proxy has ended it. */
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss'
  /** Of the peer, or as a trusted proxy tells. */
  readonly remoteAddress: string
  /**
   * Common name and SANs of a client certificate that the CA verified, or the common name of one that a trusted proxy
   * verified; empty without one.
   */
  readonly certificateNames: readonly string[]
}
