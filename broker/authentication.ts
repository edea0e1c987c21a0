import type { AuthenticateError, Client, ConnectPacket } from 'aedes'
import type { Logger } from 'pino'
import type { BrokerLimits } from './limits.ts'
import { isTopicName, levelsOf, RESERVED_PREFIX } from './topics.ts'

/** Who says to be who. */
export interface Credentials {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
}

/** Whether to accept a client. It must bound its own time; a rejection refuses the client with CONNACK 3. */
export type VerifyCredentials = (credentials: Credentials) => boolean | Promise<boolean>

/** CONNACK return codes (MQTT 3.1.1 §3.2.2.3). */
const IDENTIFIER_REJECTED = 2
const SERVER_UNAVAILABLE = 3
const NOT_AUTHORIZED = 5

interface Refusal {
  readonly returnCode: typeof IDENTIFIER_REJECTED | typeof SERVER_UNAVAILABLE | typeof NOT_AUTHORIZED
  readonly message: string
}

type AuthenticationLimits = Pick<BrokerLimits, 'clientIdLengthMax' | 'topicLevelsMax'>

/** What is wrong with a CONNECT in itself; `null` when nothing is. */
function refusalOf ({ clientId, clean, protocolVersion, will }: ConnectPacket, limits: AuthenticationLimits): Refusal | null {
  if (clientId.length === 0 && (clean === false || protocolVersion === 3)) {
    return { returnCode: IDENTIFIER_REJECTED, message: 'an empty client id needs a clean session' } // [MQTT-3.1.3-8]
  }
  if (clientId.length > limits.clientIdLengthMax || clientId.includes('\0')) { // [MQTT-1.5.3-2]
    return { returnCode: IDENTIFIER_REJECTED, message: 'the client id is too long or holds a null character' }
  }
  // Aedes looks at neither: a will on `$SYS/` or on a wildcard would be published as it stands.
  if (will !== undefined && (!isTopicName(will.topic) || will.topic.startsWith(RESERVED_PREFIX) ||
    levelsOf(will.topic) > limits.topicLevelsMax)) {
    return { returnCode: NOT_AUTHORIZED, message: 'the will topic may not be published on' }
  }
  return null
}

/**
 * Aedes' `preConnect` and `authenticate`. Only the latter can answer with a return code, so the former leaves a mark.
 * Without `verifyCredentials` everyone is accepted.
 */
export function createAuthentication ({ limits, verifyCredentials, logger }: {
  limits: AuthenticationLimits
  verifyCredentials?: VerifyCredentials | undefined
  logger: Logger
}) {
  const refusals = new WeakMap<Client, Refusal>()

  const toError = ({ returnCode, message }: Refusal): AuthenticateError => Object.assign(new Error(message), { returnCode })

  async function verify (verifier: VerifyCredentials, credentials: Credentials): Promise<Refusal | null> {
    try {
      return await verifier(credentials) ? null : { returnCode: NOT_AUTHORIZED, message: 'not authorised' }
    } catch (error) {
      logger.error({ err: error }, 'credentials could not be verified')
      return { returnCode: SERVER_UNAVAILABLE, message: 'credentials could not be verified' }
    }
  }

  return {
    preConnect (client: Client, packet: ConnectPacket, callback: (error: Error | null, success: boolean) => void): void {
      const refusal = refusalOf(packet, limits)
      if (refusal !== null) refusals.set(client, refusal)
      callback(null, true)
    },

    authenticate (
      client: Client, username: string | undefined, password: Buffer | undefined,
      callback: (error: AuthenticateError | null, success: boolean | null) => void
    ): void {
      const answer = (refusal: Refusal | null) => {
        if (refusal === null) callback(null, true)
        else callback(toError(refusal), false)
      }
      const refusal = refusals.get(client) ?? null
      if (refusal !== null || verifyCredentials === undefined) return answer(refusal)
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- verify does not reject
      verify(verifyCredentials, { clientId: client.id, username, password }).then(answer)
    }
  }
}
