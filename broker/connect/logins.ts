import type { Logger } from 'pino'
import type { Cluster } from '../cluster.ts'
import type { Connections } from '../connections.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Sessions } from '../session/sessions.ts'
import { createAuthentication } from './authentication.ts'
import type { Authenticate } from './credentials.ts'
import { HeldLogins } from './held-logins.ts'
import { createIdentify } from './identify.ts'
import { createLoginDelays } from './login-delays.ts'
import type { LoginRefusals } from './login-refusals.ts'
import { Revocations } from './revocations.ts'

interface LoginsOptions {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly cluster: Cluster | null
  readonly authenticate: Authenticate | undefined
  readonly refusals: LoginRefusals
  readonly onBridgeState: (clientId: string) => void
  readonly hits: LimitHits
  readonly limits: BrokerLimits
  readonly logger: Logger
}

/** Wires the parts that verify a CONNECT, and those that close connections when principals change. */
export function createLogins (options: LoginsOptions) {
  const { connections, sessions, cluster, authenticate, refusals, onBridgeState, hits, limits, logger } = options
  const loginDelays = createLoginDelays({ limits, hits, refusals, logger })
  const heldLogins = new HeldLogins({ limits, hits, logger })
  const revocations = new Revocations(connections)
  const { identify, refuse } = createIdentify({
    limits, hits, loginDelays, held: heldLogins, revocations, authenticate, logger
  })
  const authentication = createAuthentication({
    limits, connections, sessions, cluster, loginDelays, revocations, identify, refuse, onBridgeState
  })
  return { authentication, revocations, loginDelays, heldLogins }
}
