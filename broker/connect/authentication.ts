import type { AuthenticateError, Client, ConnectPacket } from 'aedes'
import type { Logger } from 'pino'
import type { Principal } from '../../schemas/principal.ts'
import { claimOf, publishTopicOf, refusalOfConnect } from './authorisation.ts'
import type { Connection, Connections } from '../connections.ts'
import type { HeldLogins } from './held-logins.ts'
import type { LoginRefusal } from './login-refusals.ts'
import { Endings, type PrincipalReview } from './revocations.ts'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import { type Identity, Login } from './login.ts'
import type { createLogins } from './login-delays.ts'
import { createOccasional } from '../log-throttle.ts'
import type { Origin } from '../listen/origin.ts'
import type { Sessions } from '../session/sessions.ts'
import { isBridgeState, levelsOf, RESERVED_PREFIX } from '../topics.ts'

/** Who says to be who. */
export interface Credentials {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly origin: Origin
  /** It was verified before, and could not be. */
  readonly isRetry: boolean
  /** Becomes true when nobody waits for the answer any more: what has not begun by then need not. */
  readonly isOver: boolean
}

/** Who it is. */
export type Authentication =
  | {
    readonly status: 'accepted'
    /** `null`: no credentials exist, and everyone may do everything. */
    readonly principal: Principal | null
    /** Unix milliseconds at which the connection ends. */
    readonly expiresAtMs?: number
  }
  /** CONNACK 5, whatever the reason, so that nobody learns which ids exist. The reason is for the log; `principalId` is of one that there is. */
  | { readonly status: 'refused', readonly reason: LoginRefusal, readonly principalId?: string }
  /** Cannot be checked now: held, tried again, and closed without a CONNACK in the end; where too many wait already, at once. */
  | { readonly status: 'unavailable', readonly isOverloaded?: true }

/** What it throws is logged and answered as `unavailable`. */
export type Authenticate = (credentials: Credentials) => Authentication | Promise<Authentication>

/** CONNACK return codes (MQTT 3.1.1 §3.2.2.3). */
const IDENTIFIER_REJECTED = 2
const NOT_AUTHORIZED = 5

interface Refusal {
  readonly returnCode: typeof IDENTIFIER_REJECTED | typeof NOT_AUTHORIZED
  readonly message: string
}

/** Closed without a CONNACK: clients come back by themselves. After CONNACK 3 MQTT.js 5 does not. */
type Unavailable = 'unavailable'

const isIdentity = (result: Identity | Refusal | Unavailable): result is Identity => typeof result === 'object' && 'principal' in result

/** One for every cause. */
const REFUSED: Refusal = { returnCode: NOT_AUTHORIZED, message: 'not authorised' }
const UNAVAILABLE: Unavailable = 'unavailable'

type AuthenticationLimits = Pick<BrokerLimits, 'clientIdLengthMax' | 'topicLengthMax' | 'topicLevelsMax' | 'authenticationTimeoutMs' | 'keepaliveSecondsMax' | 'connectPacketBytesMax'>

/** What is wrong with a CONNECT in itself; `null` when nothing is. */
function refusalOf ({ clientId, clean, protocolVersion, will }: ConnectPacket, limits: AuthenticationLimits): Refusal | null {
  if (clientId.length === 0 && (clean === false || protocolVersion === 3)) {
    return { returnCode: IDENTIFIER_REJECTED, message: 'an empty client id needs a clean session' } // [MQTT-3.1.3-8]
  }
  if (clientId.length > limits.clientIdLengthMax) return { returnCode: IDENTIFIER_REJECTED, message: 'the client id is too long' }
  // Aedes looks at neither: a will on `$SYS/` would be published as it stands.
  if (will !== undefined && (will.topic.startsWith(RESERVED_PREFIX) || will.topic.length > limits.topicLengthMax || levelsOf(will.topic) > limits.topicLevelsMax)) {
    return { returnCode: NOT_AUTHORIZED, message: 'the will may not be published' }
  }
  return null
}

interface AuthenticationOptions {
  readonly limits: AuthenticationLimits
  readonly hits: LimitHits
  readonly connections: Connections
  readonly sessions: Sessions
  readonly logins: ReturnType<typeof createLogins>
  readonly held: HeldLogins
  /** A bridge's will was dropped. */
  readonly onBridgeState: (clientId: string) => void
  readonly authenticate?: Authenticate | undefined
  readonly logger: Logger
}

/**
 * Aedes' `preConnect` and `authenticate`. Only the latter can answer with a return code, so the former leaves a mark.
 * Without `authenticate` everyone is accepted, as in the open mode.
 */
export function createAuthentication (options: AuthenticationOptions) {
  const { limits, hits, connections, sessions, logins, held, authenticate, onBridgeState, logger } = options
  const { authenticationTimeoutMs, keepaliveSecondsMax, connectPacketBytesMax } = limits
  const connects = new WeakMap<Client, { readonly will: ConnectPacket['will'], readonly refusal: Refusal | null }>()
  const occasionally = createOccasional({ intervalMs: 10_000 })
  const endings = new Endings()

  const toError = ({ returnCode, message }: Refusal): AuthenticateError => Object.assign(new Error(message), { returnCode })

  /** The will of a bridge's notifications would be refused, and the bridge with it, for ever. */
  function dropBridgeWill (packet: ConnectPacket): void {
    if (packet.will === undefined || !isBridgeState(packet.will.topic)) return
    delete packet.will
    onBridgeState(packet.clientId)
  }

  /** Asks again while nobody can tell, for as long as the login may be held. */
  async function askUntilKnown (login: Login): Promise<{ readonly answer: Authentication, readonly since: number }> {
    try {
      for (;;) {
        const since = endings.count
        const answer = await ask(login)
        // A guess that waited would be checked again and again.
        if (answer.status !== 'unavailable' || answer.isOverloaded === true || !await held.wait(login)) return { answer, since }
        login.isRetry = true
      }
    } finally {
      held.leave(login)
    }
  }

  async function identify (login: Login, will: ConnectPacket['will']): Promise<Identity | Refusal | Unavailable> {
    const { answer, since } = await askUntilKnown(login)
    if (answer.status === 'unavailable') {
      // A client that has left was refused nothing.
      if (!login.isOver) logins.refused(login, { reason: 'unavailable' })
      return UNAVAILABLE
    }
    if (answer.status === 'refused') return refuse(login, answer.reason, answer.principalId)
    const { principal, expiresAtMs = Infinity } = answer
    const reason = refusalOfConnect(principal, login.clientId, will) ?? (expiresAtMs > Date.now() ? null : 'expired')
    return reason === null ? { principal, expiresAtMs, since } : refuse(login, reason, principal?.id)
  }

  /** Gives a connection what its login is entitled to. @returns why not */
  async function admit (connection: Connection, login: Login, { principal, expiresAtMs, since }: Identity): Promise<Refusal | Unavailable | null> {
    const { clientId } = login
    if (claimOn(clientId, principal) === 'refuse') return refuse(login, 'wrong_client_id', principal?.id)
    if (connections.holderOf(clientId) !== undefined) await logins.takeover(login)
    const untilMs = endings.untilOf(principal, since) ?? expiresAtMs
    if (untilMs <= Date.now()) {
      logins.refused(login, { reason: untilMs === expiresAtMs ? 'expired' : 'revoked', principal: principal?.id })
      return UNAVAILABLE
    }
    // It may have changed hands meanwhile; from here on nothing can come between.
    const claim = claimOn(clientId, principal)
    if (claim === 'refuse') return refuse(login, 'wrong_client_id', principal?.id)
    if (!connections.claim(connection)) return UNAVAILABLE
    if (claim === 'discard') sessions.end(clientId)
    const attached = !connection.client.clean
    Object.assign(connection, { principal, expiresAtMs: untilMs, publishTopic: publishTopicOf(principal), attached })
    if (attached) sessions.attach(clientId, principal)
    logins.succeeded(login)
    return null
  }

  async function verify (connection: Connection, login: Login, will: ConnectPacket['will']): Promise<Refusal | Unavailable | null> {
    const identity = login.identity ?? await identify(login, will)
    return isIdentity(identity) ? await admit(connection, login, identity) : identity
  }

  async function ask (login: Login): Promise<Authentication> {
    if (authenticate === undefined) return { status: 'accepted', principal: null }
    try {
      const answer = authenticate(login)
      return answer instanceof Promise ? await Promise.race([answer, tooLate(login)]) : answer
    } catch (error) {
      occasionally((leftOut) => { logger.error({ err: error, leftOut }, 'credentials could not be verified') })
      return { status: 'unavailable' }
    } finally {
      login.cancel()
    }
  }

  async function tooLate (login: Login): Promise<Authentication> {
    await login.wait(authenticationTimeoutMs)
    if (!login.isOver) {
      hits.hit('authentication_time')
      logins.refused(login, { reason: 'unavailable' })
    }
    login.end()
    return { status: 'unavailable' }
  }

  async function refuse (login: Login, reason: LoginRefusal, principal?: string): Promise<Refusal> {
    await logins.failed(login, { reason, principal })
    return REFUSED
  }

  /** What would become of the connection or session under a client id. */
  function claimOn (clientId: string, principal: Principal | null): ReturnType<typeof claimOf> {
    const holder = connections.holderOf(clientId)
    const owner = holder === undefined ? sessions.ownerOf(clientId) : holder.principal
    return owner === undefined ? 'resume' : claimOf(principal, owner)
  }

  return {
    /**
     * Whether a CONNECT is worth a client of Aedes: who is refused, however long that takes, costs a socket.
     * @param packet - whole, of MQTT 3.1 or 3.1.1, with a client id
     * @returns the return code that refuses it; `null`: it may go on, and what was found is not looked for again; `unavailable`: nobody can tell
     */
    async receive (login: Login, packet: ConnectPacket): Promise<number | null | Unavailable> {
      dropBridgeWill(packet)
      // What is wrong with the packet itself Aedes hears of, too.
      if (refusalOf(packet, limits) !== null) return null
      const identity = await identify(login, packet.will)
      if (identity === UNAVAILABLE) return identity
      if (!isIdentity(identity)) return identity.returnCode
      login.identity = identity
      return null
    },

    preConnect (client: Client, packet: ConnectPacket, callback: (error: Error | null, success: boolean) => void): void {
      dropBridgeWill(packet)
      connects.set(client, { will: packet.will, refusal: refusalOf(packet, limits) })
      // MQTT 3.1.1 has no way to tell the client; Aedes takes it from the packet.
      const { keepalive = 0 } = packet
      if (keepalive === 0 || keepalive > keepaliveSecondsMax) packet.keepalive = keepaliveSecondsMax
      callback(null, true)
    },

    authenticate (
      client: Client, username: string | undefined, password: Buffer | undefined,
      callback: (error: AuthenticateError | null, success: boolean | null) => void
    ): void {
      const answer = (refusal: Refusal | Unavailable | null) => {
        if (refusal === null) callback(null, true)
        // Aedes is not called back: it has no way to close without a CONNACK.
        else if (refusal === UNAVAILABLE) client.conn.destroy()
        else callback(toError(refusal), false)
      }
      const connection = connections.of(client)
      if (connection === undefined) return answer(UNAVAILABLE)
      const { will, refusal = null } = connects.get(client) ?? {}
      if (refusal !== null) {
        const { origin } = connection
        logins.refused({ clientId: client.id, origin }, { reason: refusal.returnCode === IDENTIFIER_REJECTED ? 'malformed' : 'not_allowed' })
        return answer(refusal)
      }
      connection.login ??= new Login({
        clientId: client.id, username, password, origin: connection.origin, heldBytes: () => connectPacketBytesMax + connection.socket.readableLength
      })
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- verify does not reject
      verify(connection, connection.login, will).then((refusal) => {
        connection.login = null
        answer(refusal)
      })
    },

    /**
     * Principals changed: ends the connections of those who must go, whose wills do not speak, and gives others their new end.
     * @param ids - whose connections are looked at, all without; logins that are under way are looked at in any case
     */
    review (review: PrincipalReview, ids?: ReadonlySet<string>): void {
      endings.note(review)
      const nowMs = Date.now()
      for (const connection of connections.open) {
        const { principal } = connection
        if (principal === undefined || (ids !== undefined && (principal === null || !ids.has(principal.id)))) continue
        const untilMs = review(principal)
        if (untilMs === undefined) continue
        if (untilMs <= nowMs) revoke(connection)
        else connection.expiresAtMs = untilMs
      }
    },
    /** Ends the connections whose credentials have expired. */
    expire (nowMs: number): void {
      for (const connection of connections.open) {
        if (connection.expiresAtMs <= nowMs) revoke(connection)
      }
    }
  }
}

/** Closes a connection whose principal may not be here any more; what it left on the way is not published. */
function revoke (connection: Connection): void {
  connection.publishTopic = ''
  connection.gate.close()
  connection.socket.destroy()
}
