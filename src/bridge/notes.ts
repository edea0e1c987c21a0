import type { Logger } from 'pino'
import type { Notes } from './connection.ts'
import { createRecentWarnings } from './recent-warnings.ts'
import type { Terms } from './terms.ts'

const QOS_0 = 'messages come at QoS 0, as their devices publish them: one that is on its way here when either side dies is ' +
  'lost; let them ' +
  'publish at QoS 1'
const EXPIRING = 'messages come with a Message Expiry Interval: those that wait longer than that at the broker are dropped there'
const CUT = 'messages come that are larger than VITAL_PACKET_BYTES_MAX: each becomes a dead letter of its first bytes'
const FOREIGN = 'messages come on topics that VITAL_BRIDGE_TOPIC does not name, or without a valid device id in it: each becomes a ' +
  'dead letter'
const SESSION_LOST = 'the broker did not keep the session of this bridge: messages in it are lost, or went to other members of the group'

/** Counts messages, and warns of settings of brokers and devices that may lose messages. */
export function createNotes ({ toldMs, logger }: { readonly toldMs: number, readonly logger: Logger }) {
  const recent = createRecentWarnings({ toldMs, onNew: (warning) => { logger.warn(warning) } })
  const counts = { qos0: 0, qos1: 0, redelivered: 0, acknowledged: 0, subscribed: 0, sessionsLost: 0, cut: 0, expiring: 0 }
  let terms: Terms | null = null
  return {
    counts,
    /** Current warnings. */
    warnings: (): string[] => [...terms?.warnings ?? [], ...recent.warnings()],
    /** Whether this connection has resumed a session. */
    get isSessionPresent (): boolean {
      return terms?.isSessionPresent ?? false
    },
    onMessage (qos: number, { isDuplicate, isExpiring, isCut }: Notes): void {
      if (qos === 0) {
        counts.qos0++
        recent.note(QOS_0)
      } else {
        counts.qos1++
      }
      if (isDuplicate) counts.redelivered++
      if (isExpiring) {
        counts.expiring++
        recent.note(EXPIRING)
      }
      if (isCut) {
        counts.cut++
        recent.note(CUT)
      }
    },
    onForeign (): void { recent.note(FOREIGN) },
    onTerms (given: Terms): void {
      terms = given
      for (const warning of given.warnings) logger.warn(warning)
      if (!given.isSessionLost) return
      counts.sessionsLost++
      recent.note(SESSION_LOST)
    },
    /** Called when the connection has ended. */
    onEnd (): void { terms = null }
  }
}
