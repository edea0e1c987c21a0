/** Names in Redis. Another database of the same Redis (`redis://…/1`) is another cluster. */
export const KEYS = {
  /** Set of gateways, dead ones included until their sessions are adopted. */
  gateways: 'vital:gateways',
  /** Exists while a gateway lives; its value is what it tells the others. */
  lease: (gateway: string) => `vital:lease:${gateway}`,
  /** Notices of other gateways to one gateway. */
  stream: (gateway: string) => `vital:stream:${gateway}`,
  /** Set of topic filters with a subscriber there. */
  interest: (gateway: string) => `vital:interest:${gateway}`,
  /** Set of client ids that it owns. */
  clients: (gateway: string) => `vital:clients:${gateway}`,
  /** Entry of its stream up to which all entries are read, and the deliveries of them written. */
  position: (gateway: string) => `vital:position:${gateway}`,
  /** Held by the gateway that adopts its sessions. */
  adoption: (gateway: string) => `vital:adoption:${gateway}`,
  /**
   * Hash of one client: `o` owner, `e` epoch, `p` principal, `m` session, `s` the entry of the owner's stream up to
   * which the session is complete, `w` will, `n` numbers of the last messages that it had at its former owner. For each
   * delivery: `d{seq}` its message, `f{seq}` its packet id.
   */
  client: (clientId: string) => `vital:client:${clientId}`,
  /** Exists once a gateway publishes an announcement that all have received; its value is the gateway. */
  announcement: (id: string) => `vital:announcement:${id}`,
  /** Token bucket of one principal, or of one address. */
  rate: (name: string, key: string) => `vital:rate:${name}:${key}`,
  /** Hash of retained messages by topic. */
  retained: 'vital:retained',
  /** Stream of their changes. */
  retainedLog: 'vital:retained:log'
} as const

/** All commands that gateways send or call in scripts, with an example key: to check what their user may do. */
export const COMMANDS: readonly string[] = [
  'INFO server', 'CLIENT SETNAME vital', 'EVAL x 0', 'TIME',
  'GET vital:x', 'SET vital:x y', 'DEL vital:x', 'EXISTS vital:x', 'PEXPIRE vital:x 1',
  'SADD vital:x y', 'SREM vital:x y', 'SMEMBERS vital:x', 'SISMEMBER vital:x y',
  'HGET vital:x y', 'HSET vital:x y z', 'HDEL vital:x y', 'HEXISTS vital:x y', 'HGETALL vital:x', 'HINCRBY vital:x y 1', 'HSCAN vital:x 0',
  'XADD vital:x * e y', 'XREAD STREAMS vital:x 0', 'XRANGE vital:x - +', 'XREVRANGE vital:x + -', 'XTRIM vital:x MINID 1',
  'XINFO STREAM vital:x'
]
