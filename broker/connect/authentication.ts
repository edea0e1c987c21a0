import type { AuthenticateError, Client, ConnectPacket } from 'aedes'
import type { Cluster } from '../cluster.ts'
import type { Connection } from '../connection.ts'
import type { Connections } from '../connections.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Sessions } from '../session/sessions.ts'
import { isBridgeState, levelsOf, RESERVED_PREFIX } from '../topics.ts'
import { RETURN_CODES, type ReturnCode } from '../wire/encode.ts'
import type { Connect5 } from '../wire/v5/decode.ts'
import { type ReasonCode5, REASONS5 } from '../wire/v5/reason-codes.ts'
import { createClaim } from './claim.ts'
import type { createIdentify, NotIdentified } from './identify.ts'
import type { LoginDelays } from './login-delays.ts'
import { type Identity, Login } from './login.ts'
import type { Revocations } from './revocations.ts'

/** A CONNACK that refuses. */
interface Refusal {
  readonly returnCode: ReturnCode
  readonly message: string
}

/** The same for every cause. */
const REFUSED: Refusal = { returnCode: RETURN_CODES.notAuthorized, message: 'not authorised' }

type AuthenticationLimits = Pick<BrokerLimits,
  'clientIdLengthMax' | 'topicLengthMax' | 'topicLevelsMax' | 'keepaliveSecondsMax' | 'connectPacketBytesMax'>

/** The fields of a CONNECT that are checked. */
interface ConnectFields {
  readonly clientId: string
  readonly clean?: boolean | undefined
  readonly protocolVersion?: number | undefined
  readonly will?: { readonly topic: string } | undefined
}

/** Why a CONNECT is refused whatever its credentials are; `null` when it is not. */
function refusalOf (
  { clientId, clean, protocolVersion, will }: ConnectFields, limits: AuthenticationLimits
): Refusal | null {
  if (clientId.length === 0 && (clean === false || protocolVersion === 3)) { // [MQTT-3.1.3-8]
    return { returnCode: RETURN_CODES.identifierRejected, message: 'an empty client id needs a clean session' }
  }
  if (clientId.length > limits.clientIdLengthMax) {
    return { returnCode: RETURN_CODES.identifierRejected, message: 'the client id is too long' }
  }
  // Aedes checks none of these: a will on `$SYS/` would be published as it stands.
  if (will === undefined) return null
  const { topic } = will
  return topic.startsWith(RESERVED_PREFIX) || topic.length > limits.topicLengthMax || levelsOf(topic) > limits.topicLevelsMax
    ? { returnCode: RETURN_CODES.notAuthorized, message: 'the will may not be published' }
    : null
}

interface AuthenticationOptions extends ReturnType<typeof createIdentify> {
  readonly limits: AuthenticationLimits
  readonly connections: Connections
  readonly sessions: Sessions
  readonly loginDelays: LoginDelays
  readonly revocations: Revocations
  readonly cluster: Cluster | null
  /** A bridge's will was dropped. */
  readonly onBridgeState: (clientId: string) => void
}

/**
 * From a CONNECT to its CONNACK: Aedes' `preConnect` and `authenticate`. Only the latter can answer with a return code,
 * so the former keeps the refusal that it finds.
 */
export function createAuthentication (options: AuthenticationOptions) {
  const { limits, connections, loginDelays, identify, onBridgeState } = options
  const connects = new WeakMap<Client, { readonly will: ConnectPacket['will'], readonly refusal: Refusal | null }>()

  const toError = ({ returnCode, message }: Refusal): AuthenticateError =>
    Object.assign(new Error(message), { returnCode })

  /** Drops the will of a bridge's notifications: it would be refused, and the bridge with it at each attempt. */
  function dropBridgeWill (packet: ConnectPacket): void {
    if (packet.will === undefined || !isBridgeState(packet.will.topic)) return
    delete packet.will
    onBridgeState(packet.clientId)
  }

  const admit = createClaim(options)

  async function verify (
    connection: Connection, login: Login, will: ConnectPacket['will']
  ): Promise<NotIdentified | null> {
    const identity = login.identity ?? await identify(login, will)
    return typeof identity === 'string' ? identity : await admit(connection, login, identity)
  }

  return {
    admit,

    /**
     * Verifies a CONNECT of MQTT 5.
     * @returns the reason code that refuses it; `unavailable`: it cannot be verified
     */
    async verifyMqtt5 (login: Login, { will }: Pick<Connect5, 'will'>): Promise<Identity | ReasonCode5 | 'unavailable'> {
      const refusal = refusalOf({ clientId: login.clientId, clean: true, will: will ?? undefined }, limits)
      if (refusal !== null) {
        const isIdRefused = refusal.returnCode === RETURN_CODES.identifierRejected
        loginDelays.refused(login, { reason: isIdRefused ? 'malformed' : 'not_allowed' })
        return isIdRefused ? REASONS5.clientIdentifierNotValid : REASONS5.notAuthorized
      }
      const identity = await identify(login, will ?? undefined)
      return identity === 'refused' ? REASONS5.notAuthorized : identity
    },

    /**
     * Verifies a CONNECT before Aedes has a client for it, so that a refused connection costs a socket alone, however
     * late it is refused.
     * @param packet - whole, of MQTT 3.1 or 3.1.1, with a client id
     * @returns the return code that refuses it; `null`: Aedes may have it, and it is not verified again; `unavailable`:
     *   it cannot be verified
     */
    async verifyFirst (login: Login, packet: ConnectPacket): Promise<ReturnCode | null | 'unavailable'> {
      dropBridgeWill(packet)
      // Refused below, by `authenticate`.
      if (refusalOf(packet, limits) !== null) return null
      const identity = await identify(login, packet.will)
      if (identity === 'unavailable') return identity
      if (identity === 'refused') return REFUSED.returnCode
      login.identity = identity
      return null
    },

    preConnect (
      client: Client, packet: ConnectPacket, callback: (error: Error | null, success: boolean) => void
    ): void {
      dropBridgeWill(packet)
      connects.set(client, { will: packet.will, refusal: refusalOf(packet, limits) })
      // MQTT 3.1.1 has no way to tell the client; Aedes takes it from the packet.
      const { keepalive = 0 } = packet
      if (keepalive === 0 || keepalive > limits.keepaliveSecondsMax) packet.keepalive = limits.keepaliveSecondsMax
      callback(null, true)
    },

    authenticate (
      client: Client, username: string | undefined, password: Buffer | undefined,
      callback: (error: AuthenticateError | null, success: boolean | null) => void
    ): void {
      const connection = connections.of(client)
      if (connection === undefined) {
        client.conn.destroy()
        return
      }
      const { access, origin, socket } = connection
      const { will, refusal = null } = connects.get(client) ?? {}
      if (refusal !== null) {
        const reason = refusal.returnCode === RETURN_CODES.identifierRejected ? 'malformed' : 'not_allowed'
        loginDelays.refused({ clientId: client.id, origin }, { reason })
        callback(toError(refusal), false)
        return
      }
      const heldBytes = () => limits.connectPacketBytesMax + socket.readableLength
      const login = access.login ?? new Login({ clientId: client.id, username, password, origin, heldBytes })
      access.begin(login)
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- verify does not reject
      verify(connection, login, will).then((result) => {
        access.finish()
        if (result === null) callback(null, true)
        // Without calling Aedes back: it has no way to close without a CONNACK. Clients come back by themselves; after
        // CONNACK 3 MQTT.js 5 does not.
        else if (result === 'unavailable') client.conn.destroy()
        else callback(toError(REFUSED), false)
      })
    }
  }
}

export type ConnectAuthentication = ReturnType<typeof createAuthentication>
