import type { Logger } from 'pino'
import type { Connection } from './connections.ts'
import type { FrameViolation } from './publish/packet-scanner.ts'
import type { LimitHits } from './limit-hits.ts'
import { createOccasional } from './log-throttle.ts'
import { MALFORMED } from './wire.ts'

/** What connections are closed for, and what is not kept, counted and told now and then. */
export function createOffences ({ hits, logger }: { hits: LimitHits, logger: Logger }) {
  const occasionally = {
    forbidden: createOccasional({ intervalMs: 1000 }),
    violation: createOccasional({ intervalMs: 1000 }),
    malformed: createOccasional({ intervalMs: 1000 }),
    bridgeState: createOccasional({ intervalMs: 3_600_000 }),
    retained: createOccasional({ intervalMs: 60_000 })
  }
  const state = { violations: 0, malformed: 0, publishesForbidden: 0 }

  return {
    /** It published on a topic that is not its own. */
    forbidden ({ client, origin: { remoteAddress } }: Connection): void {
      state.publishesForbidden++
      occasionally.forbidden((leftOut) => {
        logger.warn({ clientId: client.id, remoteAddress, leftOut }, 'connection closed: it published on a topic that is not its own')
      })
    },
    violation ({ client, connected, origin: { remoteAddress } }: Connection, violation: FrameViolation): void {
      const { id: clientId } = client
      if (violation !== 'packet_too_large' && violation !== 'malformed_length') {
        state.malformed++
        occasionally.malformed((leftOut) => {
          logger.info({ violation, clause: MALFORMED[violation], clientId, remoteAddress, leftOut }, 'connection closed: malformed packet')
        })
        return
      }
      state.violations++
      hits.hit(violation === 'malformed_length' ? 'packet_length' : connected ? 'packet_bytes' : 'connect_bytes')
      occasionally.violation((leftOut) => {
        logger.info({ violation, clientId, remoteAddress, leftOut }, 'connection closed: limit broken')
      })
    },
    /** A bridge told its state where only the gateway may publish. */
    bridgeState (clientId: string): void {
      occasionally.bridgeState((leftOut) => {
        logger.info({ clientId, leftOut }, 'a bridge\'s notification was dropped: $SYS/ is the gateway\'s; `notifications false` ends it')
      })
    },
    notRetained (): void {
      hits.hit('retained')
      occasionally.retained((leftOut) => { logger.warn({ leftOut }, 'message not retained: the limit is reached') })
    },
    get counts (): { readonly violations: number, readonly malformed: number, readonly publishesForbidden: number } {
      return state
    }
  }
}
