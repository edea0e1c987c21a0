import type { Traffic } from './packet-scanner.ts'
import type { Rates } from './rate-limiter.ts'

/** Fewest bytes of a packet. */
export const PACKET_BYTES_MIN = 2

/**
 * A SUBSCRIBE, UNSUBSCRIBE or PINGREQ counts as so many messages: nobody needs 250 a second, and each takes three times what a publish on the express
 * lane does. At one each, ten devices that pinged at their limit of 5,000 made everybody's acknowledgements thirty times as slow.
 * Where the limit is low it counts less, a tenth of a second's worth: one ping must not use up what a device may publish.
 */
const CONTROL_MESSAGES_MAX = 20
export const toControlMessages = ({ messagesPerSecondMax }: Rates) => Math.min(CONTROL_MESSAGES_MAX, Math.max(1, Math.floor(messagesPerSecondMax / 10)))

/** What counts as messages. Acknowledgements do not: they answer what the gateway sent, and holding back those of a busy subscriber would slow its deliveries. */
export const messagesOf = ({ packetsByType }: Traffic, controlMessages: number) =>
  (packetsByType[3] as number) + controlMessages * ((packetsByType[8] as number) + (packetsByType[10] as number) + (packetsByType[12] as number))
