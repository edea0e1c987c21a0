/**
 * Reason codes of MQTT 5 by the names of the standard (§2.4); 0x80 and above are failures. They are chosen in ../../mqtt5:
 * `publish-answers.ts` (PUBACK, PUBREC), `packet-handler.ts` (SUBACK, UNSUBACK, PUBCOMP), `serve-mqtt5.ts` (CONNACK),
 * `mqtt5-client.ts` (DISCONNECT); for a broken rule in `packet-error.ts`.
 */
export const REASONS5 = {
  success: 0x00,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8A,
  serverShuttingDown: 0x8B,
  badAuthenticationMethod: 0x8C,
  keepAliveTimeout: 0x8D,
  sessionTakenOver: 0x8E,
  topicFilterInvalid: 0x8F,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9A,
  qosNotSupported: 0x9B,
  useAnotherServer: 0x9C,
  serverMoved: 0x9D,
  sharedSubscriptionsNotSupported: 0x9E,
  connectionRateExceeded: 0x9F,
  maximumConnectTime: 0xA0,
  subscriptionIdentifiersNotSupported: 0xA1,
  wildcardSubscriptionsNotSupported: 0xA2
} as const

export type ReasonCode5 = typeof REASONS5[keyof typeof REASONS5]

const {
  success, unspecifiedError, implementationSpecificError, topicNameInvalid, quotaExceeded, payloadFormatInvalid
} = REASONS5

/**
 * Reason codes of a client's PUBACK (§3.4.2.1) and PUBREC (§3.5.2.1). 0x10 is for servers, but harmless: a client that
 * is closed for it would get the message again, and be closed again.
 */
export const RECEIPT_REASONS: ReadonlySet<number> = new Set([
  success, REASONS5.noMatchingSubscribers, unspecifiedError, implementationSpecificError, REASONS5.notAuthorized,
  topicNameInvalid, REASONS5.packetIdentifierInUse, quotaExceeded, payloadFormatInvalid
])

/** Reason codes of PUBREL (§3.6.2.1) and PUBCOMP (§3.7.2.1). */
export const RELEASE_REASONS: ReadonlySet<number> = new Set([success, REASONS5.packetIdentifierNotFound])

/** Reason codes of a DISCONNECT that a client sends (§3.14.2.1). */
export const DISCONNECT_REASONS: ReadonlySet<number> = new Set([
  success, REASONS5.disconnectWithWill, unspecifiedError, REASONS5.malformedPacket, REASONS5.protocolError,
  implementationSpecificError, topicNameInvalid, REASONS5.receiveMaximumExceeded, REASONS5.topicAliasInvalid,
  REASONS5.packetTooLarge, REASONS5.messageRateTooHigh, quotaExceeded, REASONS5.administrativeAction, payloadFormatInvalid
])
