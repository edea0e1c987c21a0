/**
 * What keeps guessing slow and everyone else served.
 *
 * Credentials are verified at once and a right answer is given at once; only a refusal is held back, longer with each
 * one of the same name or address. So nobody can be locked out by failures of somebody else, however many there are,
 * and the guesser waits. What could be overwhelmed is the verification itself (argon2id takes tens of milliseconds): of
 * one address only a few are under way at a time, and the others wait for their turn.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isPrincipalId } from '../schemas/principal.ts'
import { toAddressKey } from './address-key.ts'
import type { Credentials } from './authentication.ts'
import type { LimitHits } from './limit-hits.ts'
import type { BrokerLimits } from './limits.ts'
import { createOccasional } from './occasional.ts'
import { SlowDown } from './slow-down.ts'

interface LoginsOptions {
  readonly limits: Pick<BrokerLimits, 'loginsPerAddressMax' | 'failedLoginsOfName' | 'failedLoginsOfAddress' | 'takeoversOfClientId'>
  readonly hits: LimitHits
  readonly logger: Logger
}

export function createLogins ({ limits, hits, logger }: LoginsOptions) {
  const ofName = new SlowDown(limits.failedLoginsOfName)
  const ofAddress = new SlowDown(limits.failedLoginsOfAddress)
  const ofClientId = new SlowDown(limits.takeoversOfClientId)
  const occasionally = { failed: createOccasional({ intervalMs: 10_000 }), takeover: createOccasional({ intervalMs: 10_000 }) }
  const state = { failed: 0, takeovers: 0 }
  /** Verifications under way by address, with those that wait for one to end. */
  const busy = new Map<string, { underWay: number, readonly waiting: Array<() => void> }>()

  /** What nobody can be called shares one key, so that long names do not fill memory. */
  const nameOf = ({ username, clientId }: Credentials) => {
    const name = username ?? clientId
    return isPrincipalId(name) ? name : ''
  }

  async function enter (address: string): Promise<void> {
    const line = busy.get(address)
    if (line === undefined) {
      busy.set(address, { underWay: 1, waiting: [] })
    } else if (line.underWay < limits.loginsPerAddressMax) {
      line.underWay++
    } else {
      hits.hit('logins_per_address')
      // Whoever ends leaves its place to the next.
      await new Promise<void>((resolve) => { line.waiting.push(resolve) })
    }
  }

  function leave (address: string): void {
    const line = busy.get(address)
    if (line === undefined) return
    const next = line.waiting.shift()
    if (next !== undefined) next()
    else if (--line.underWay === 0) busy.delete(address)
  }

  return {
    /** Runs `verify` when it is this address's turn. */
    async inTurn<T> ({ origin }: Credentials, verify: () => T | Promise<T>): Promise<T> {
      const address = toAddressKey(origin.remoteAddress)
      await enter(address)
      try {
        return await verify()
      } finally {
        leave(address)
      }
    },

    /** Counts a refusal. @returns when it may be told */
    async failed (credentials: Credentials): Promise<void> {
      state.failed++
      const nowMs = performance.now()
      const { clientId, origin: { remoteAddress } } = credentials
      const delayMs = Math.max(ofName.note(nameOf(credentials), nowMs), ofAddress.note(toAddressKey(remoteAddress), nowMs))
      occasionally.failed((leftOut) => { logger.warn({ clientId, remoteAddress, delayMs, leftOut }, 'login refused') })
      if (delayMs === 0) return
      hits.hit('failed_logins')
      await sleep(delayMs, undefined, { ref: false })
    },

    succeeded (credentials: Credentials): void {
      ofName.forgive(nameOf(credentials))
    },

    /** Counts a takeover. @returns when it may happen: two devices with one id would otherwise drive each other out all day */
    async takeover ({ clientId, origin: { remoteAddress } }: Credentials): Promise<void> {
      state.takeovers++
      const delayMs = ofClientId.note(clientId, performance.now())
      if (delayMs === 0) return
      hits.hit('takeovers')
      occasionally.takeover((leftOut) => {
        logger.warn({ clientId, remoteAddress, delayMs, leftOut }, 'a client id is taken over again and again: two clients may share it')
      })
      await sleep(delayMs, undefined, { ref: false })
    },

    get counts (): { readonly failed: number, readonly takeovers: number } {
      return state
    }
  }
}
