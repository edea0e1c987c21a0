import type { Principal } from '../../schemas/principal.ts'
import type { Cluster } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { Sessions } from '../session/sessions.ts'
import { claimOf, publishTopicOf } from './authorisation.ts'
import type { createIdentify, NotIdentified } from './identify.ts'
import type { LoginDelays } from './login-delays.ts'
import type { Identity, Login } from './login.ts'
import type { Revocations } from './revocations.ts'

interface ClaimOptions extends Pick<ReturnType<typeof createIdentify>, 'refuse'> {
  readonly connections: Connections
  readonly sessions: Sessions
  readonly loginDelays: LoginDelays
  readonly revocations: Revocations
  readonly cluster: Cluster | null
}

/** @returns a function that gives a connection the client id and session of its login, once its principal is known */
export function createClaim ({ connections, sessions, loginDelays, revocations, refuse, cluster }: ClaimOptions) {
  /** The claim of a principal on the connection or session under a client id. */
  function claimOn (clientId: string, principal: Principal | null): ReturnType<typeof claimOf> {
    const holder = connections.holderOf(clientId)
    const owner = holder === undefined ? sessions.ownerOf(clientId) : holder.access.principal
    return owner === undefined ? 'resume' : claimOf(principal, owner)
  }

  /** Begins or resumes the session of a client of MQTT 3.1 or 3.1.1. */
  function attach (principal: Principal | null, { client }: Connection): void {
    if (!client.clean) sessions.attach(client.id, principal)
  }

  /**
   * Gives a connection the client id and session of its login.
   * @param beginSession - called in the turn in which the client id becomes its own
   * @returns `null` when it has them
   */
  async function admit (
    connection: Connection, login: Login, identity: Identity, beginSession = attach
  ): Promise<NotIdentified | null> {
    const result = await tryToAdmit(connection, login, identity, beginSession)
    // The cluster may have fetched its session for nothing.
    if (result !== null) cluster?.changed(login.clientId)
    // CONNACK says that its will is kept [MQTT-3.1.2-8].
    else if (connection.client.will !== null) await cluster?.whenWillIsKept(connection.client.id)
    return result
  }

  async function tryToAdmit (
    connection: Connection, login: Login, identity: Identity, beginSession: typeof attach
  ): Promise<NotIdentified | null> {
    const { clientId } = login
    const { principal, expiresAtMs, since } = identity
    if (claimOn(clientId, principal) === 'refuse') return refuse(login, 'wrong_client_id', principal?.id)
    if (connections.holderOf(clientId) !== undefined) await loginDelays.takeover(login)
    if (cluster !== null && await cluster.claim({ clientId, principal, startsAnew: connection.client.cleanStart }) === 'refused') {
      return refuse(login, 'wrong_client_id', principal?.id)
    }
    const untilMs = revocations.untilOf(principal, since) ?? expiresAtMs
    if (untilMs <= Date.now()) {
      loginDelays.refused(login, { reason: untilMs === expiresAtMs ? 'expired' : 'revoked', principal: principal?.id })
      return 'unavailable'
    }
    // The client id may have changed hands meanwhile. From here on everything is in one turn.
    const claim = claimOn(clientId, principal)
    if (claim === 'refuse') return refuse(login, 'wrong_client_id', principal?.id)
    if (!connections.claim(connection)) return 'unavailable'
    if (claim === 'discard') sessions.end(clientId)
    const isAttached = !connection.client.clean
    connection.access.grant({ principal, publishTopic: publishTopicOf(principal), expiresAtMs: untilMs, isAttached })
    beginSession(principal, connection)
    loginDelays.succeeded(login)
    return null
  }

  return admit
}
