import { PINGREQ, PUBLISH, SUBSCRIBE, UNSUBSCRIBE } from '../wire/fixed-header.ts'
import type { Traffic } from './packet-scanner.ts'
import type { Rates } from './rate-limiter.ts'

/**
 * Messages that a SUBSCRIBE, UNSUBSCRIBE or PINGREQ counts as: no client needs 250 a second, and each takes three times
 * the processor's time of a publish on the fast path. At one each, ten devices that ping at the limit of 5,000 make the
 * acknowledgements of all others thirty times as slow. Under a low limit each counts as the messages of a tenth of a
 * second, so that one ping does not use up a device's share.
 */
const CONTROL_MESSAGES_MAX = 20

/** @returns how many messages a SUBSCRIBE, UNSUBSCRIBE or PINGREQ counts as */
export function toControlMessages ({ messagesPerSecondMax }: Rates): number {
  return Math.min(CONTROL_MESSAGES_MAX, Math.max(1, Math.floor(messagesPerSecondMax / 10)))
}

/**
 * @returns received messages. Acknowledgements do not count: they answer packets of the gateway, and while those of a
 *   subscriber are not read, it gets fewer deliveries.
 */
export function messagesOf ({ packetsByType }: Traffic, controlMessages: number): number {
  const control = packetsByType[SUBSCRIBE]! + packetsByType[UNSUBSCRIBE]! + packetsByType[PINGREQ]!
  return packetsByType[PUBLISH]! + controlMessages * control
}
