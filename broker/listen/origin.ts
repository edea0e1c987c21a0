/** Where a connection comes from. */
export interface Origin {
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss'
  /** Of the peer, or as a trusted proxy tells. */
  readonly remoteAddress: string
  /** Common name and SANs of a client certificate that the CA verified; empty without one. */
  readonly certificateNames: readonly string[]
}
