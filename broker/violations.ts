import type { Logger } from 'pino'
import type { Connection } from './connection.ts'
import type { UnavailableReason } from './ingest.ts'
import type { LimitHits } from './limit-hits.ts'
import { createLogThrottle } from './log-throttle.ts'
import type { PacketViolation } from './publish/packet-scanner.ts'
import { MALFORMED } from './wire/rules.ts'

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
        state.malformed++
        throttles.malformed((leftOut) => {
          const clause = MALFORMED[violation]
          logger.info({ violation, clause, clientId, remoteAddress, leftOut }, 'connection closed: malformed packet')
        })
        return
      }
      hits.hit(violation === 'malformed_length' ? 'packet_length' : isConnected ? 'packet_bytes' : 'connect_bytes')
      throttles.limit((leftOut) => {
        logger.info({ violation, clientId, remoteAddress, leftOut }, 'connection closed: limit broken')
      })
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
