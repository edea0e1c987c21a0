/** Interprets CONNACK, SUBACK and DISCONNECT of a broker: refusals, and settings that may lose messages. */
import type { IConnackPacket, IDisconnectPacket, ISubackPacket } from 'mqtt-packet'
import { REASONS5 } from '../../broker/wire/v5/reason-codes.ts'
import { UpstreamError } from './upstream-error.ts'

/** Refusals that may pass by themselves; all others need an operator. */
const PASSING: ReadonlySet<number> = new Set([
  REASONS5.unspecifiedError, REASONS5.implementationSpecificError, REASONS5.serverUnavailable, REASONS5.serverBusy, REASONS5.quotaExceeded,
  REASONS5.useAnotherServer, REASONS5.connectionRateExceeded, REASONS5.serverShuttingDown, REASONS5.messageRateTooHigh
])

/** Remedies for refusals. */
const REMEDIES: Readonly<Record<number, string>> = {
  [REASONS5.unsupportedProtocolVersion]: 'it does not speak MQTT 5, without which there are no shared subscriptions',
  [REASONS5.clientIdentifierNotValid]: 'set VITAL_BRIDGE_CLIENT_ID to a client id that it takes',
  [REASONS5.badUserNameOrPassword]: 'set VITAL_BRIDGE_USERNAME and VITAL_BRIDGE_PASSWORD_FILE to what it knows',
  [REASONS5.notAuthorized]: 'let this user connect, and subscribe to the filter',
  [REASONS5.sessionTakenOver]: 'another client uses this client id; each member needs one of its own, and a data directory of its own',
  [REASONS5.sharedSubscriptionsNotSupported]: 'turn shared subscriptions on, without which members cannot share the messages',
  [REASONS5.wildcardSubscriptionsNotSupported]: 'turn wildcards in subscriptions on',
  [REASONS5.topicFilterInvalid]: 'set VITAL_BRIDGE_TOPIC to a topic that it takes'
}

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(REASONS5).map(([name, code]) =>
  [code, name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)]))

function toRefusal (what: string, code: number, reasonString?: string): UpstreamError {
  const remedy = REMEDIES[code]
  const told = [NAMES.get(code), reasonString].filter((text) => text !== undefined).join(', ')
  return new UpstreamError(
    `the broker ${what} (0x${code.toString(16).padStart(2, '0')}${told === '' ? '' : `, ${told}`})` +
      (remedy === undefined ? '' : `: ${remedy}`),
    { isPermanent: !PASSING.has(code) && code !== REASONS5.sessionTakenOver }
  )
}

/** Wishes of CONNECT, and what is known of the session. */
export interface Asked {
  readonly sessionExpiryS: number
  readonly keepAliveS: number
  /** Whether the broker has had a session of this client. */
  readonly hasSession: boolean
}

/** Terms of the connection, as the broker grants them. */
export interface Terms {
  readonly isSessionPresent: boolean
  readonly keepAliveS: number
  /** Whether the broker dropped the session, and the messages in it. */
  readonly isSessionLost: boolean
  /** Warnings that hold while the connection lasts. */
  readonly warnings: readonly string[]
}

/** @throws UpstreamError if the broker refuses, or lacks a feature that the bridge needs */
export function toTerms (connack: IConnackPacket, asked: Asked): Terms {
  const { reasonCode = connack.returnCode ?? 0, sessionPresent, properties = {} } = connack
  if (reasonCode >= REASONS5.unspecifiedError) throw toRefusal('refused the connection', reasonCode, properties.reasonString)
  if (properties.sharedSubscriptionAvailable === false) {
    throw toRefusal('has no shared subscriptions', REASONS5.sharedSubscriptionsNotSupported)
  }
  if (properties.wildcardSubscriptionAvailable === false) {
    throw toRefusal('has no subscriptions with wildcards', REASONS5.wildcardSubscriptionsNotSupported)
  }
  const expiryS = properties.sessionExpiryInterval ?? asked.sessionExpiryS
  return {
    isSessionPresent: sessionPresent,
    keepAliveS: properties.serverKeepAlive ?? asked.keepAliveS,
    isSessionLost: asked.hasSession && !sessionPresent,
    warnings: expiryS >= asked.sessionExpiryS
      ? []
      : [`the broker keeps the session of a bridge that is away for ${expiryS} s, and ${asked.sessionExpiryS} s were asked for: ` +
        'messages in it are lost afterwards']
  }
}

/** @throws UpstreamError if the subscription was refused, or granted at QoS 0 */
export function checkSuback ({ granted }: ISubackPacket, filter: string): void {
  const [code = REASONS5.unspecifiedError] = granted as readonly number[]
  if (code >= REASONS5.unspecifiedError) throw toRefusal(`refused the subscription to ${filter}`, code)
  if (code === 0) {
    throw new UpstreamError(`the broker grants QoS 0 for ${filter}: it would keep nothing until it is stored here. Allow QoS 1 there`,
      { isPermanent: true })
  }
}

/** The reason why the broker ended the connection. */
export function toEnd ({ reasonCode = 0, properties }: IDisconnectPacket): UpstreamError {
  return toRefusal('ended the connection', reasonCode, properties?.reasonString)
}
