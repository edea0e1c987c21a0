import type { Logger } from 'pino'
import type { Connection } from './connection.ts'
import type { UnavailableReason } from './ingest.ts'
import type { LimitHits } from './limit-hits.ts'
import { createLogThrottle } from './log-throttle.ts'
import type { PacketViolation } from './publish/packet-scanner.ts'
import type { Origin } from './listen/origin.ts'
import { MALFORMED } from './wire/rules.ts'
import { MALFORMED5, type PacketError } from './wire/v5/packet-error.ts'

/** Counts and logs why connections are closed and messages dropped. */
export function createViolations ({ hits, logger }: { hits: LimitHits, logger: Logger }) {
  const throttles = {
    forbidden: createLogThrottle({ intervalMs: 1000 }),
    limit: createLogThrottle({ intervalMs: 1000 }),
    malformed: createLogThrottle({ intervalMs: 1000 }),
    unavailable: createLogThrottle({ intervalMs: 10_000 }),
    bridgeState: createLogThrottle({ intervalMs: 3_600_000 }),
    retained: createLogThrottle({ intervalMs: 60_000 })
  }
  const state = { malformed: 0, publishesForbidden: 0 }

  function noteMalformed (of: { violation: string, clause: string, clientId?: string, remoteAddress: string | undefined }): void {
    state.malformed++
    throttles.malformed((leftOut) => { logger.info({ ...of, leftOut }, 'connection closed: malformed packet') })
  }

  return {
    /** A connection published on a topic that is not its own. */
    forbiddenPublish ({ client, origin: { remoteAddress } }: Connection): void {
      state.publishesForbidden++
      throttles.forbidden((leftOut) => {
        const text = 'connection closed: it published on a topic that is not its own'
        logger.warn({ clientId: client.id, remoteAddress, leftOut }, text)
      })
    },
    /** A connection sent a packet that is malformed or over a limit. */
    packet ({ client, isConnected, origin: { remoteAddress } }: Connection, violation: PacketViolation): void {
      const { id: clientId } = client
      if (!isLimit(violation)) {
        noteMalformed({ violation, clause: MALFORMED[violation], clientId, remoteAddress })
        return
      }
      hits.hit(violation === 'malformed_length' ? 'packet_length' : isConnected ? 'packet_bytes' : 'connect_bytes')
      throttles.limit((leftOut) => {
        logger.info({ violation, clientId, remoteAddress, leftOut }, 'connection closed: limit broken')
      })
    },
    /** A connection of MQTT 5 sent a packet that breaks a rule. */
    packet5 (connection: Connection, { rule }: PacketError): void {
      const { client: { id: clientId }, origin: { remoteAddress } } = connection
      if (rule !== 'packet_size' && rule !== 'topic_alias' && rule !== 'topic_alias_unknown') {
        noteMalformed({ violation: rule, clause: MALFORMED5[rule], clientId, remoteAddress })
        return
      }
      hits.hit(rule === 'packet_size' ? 'packet_bytes' : 'topic_alias')
      throttles.limit((leftOut) => {
        logger.info({ violation: rule, clientId, remoteAddress, leftOut }, 'connection closed: limit broken')
      })
    },
    /** A CONNECT of MQTT 5 breaks a rule. */
    connect5 ({ remoteAddress }: Origin, { rule }: PacketError): void {
      noteMalformed({ violation: rule, clause: MALFORMED5[rule], remoteAddress })
    },
    /** A publish of a connection could not be made durable. */
    unavailable ({ client, origin: { remoteAddress } }: Connection, reason: UnavailableReason): void {
      throttles.unavailable((leftOut) => {
        const clientId = client.id
        logger.info({ reason, clientId, remoteAddress, leftOut }, 'connection closed: a publish could not be stored')
      })
    },
    /** A bridge published its state where only the gateway may publish. */
    bridgeState (clientId: string): void {
      throttles.bridgeState((leftOut) => {
        const text = 'a bridge\'s notification was dropped: $SYS/ is the gateway\'s; `notifications false` ends it'
        logger.info({ clientId, leftOut }, text)
      })
    },
    notRetained (): void {
      hits.hit('retained')
      throttles.retained((leftOut) => { logger.warn({ leftOut }, 'message not retained: the limit is reached') })
    },
    get counts (): { readonly malformed: number, readonly publishesForbidden: number } {
      return state
    }
  }
}

export type Violations = ReturnType<typeof createViolations>

/** Whether a packet is over a limit, and not malformed. */
export function isLimit (violation: PacketViolation): violation is 'packet_too_large' | 'malformed_length' {
  return violation === 'packet_too_large' || violation === 'malformed_length'
}
