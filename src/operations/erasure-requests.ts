/**
 * The part of a gateway in erasures that any gateway on the database was asked for.
 *
 * A request is a row in PostgreSQL. Each gateway looks for new ones each second, and before it may replay its spool after a
 * start. For each:
 *
 *   what was accepted before is in PostgreSQL or in the spool ──> what is in the spool is not replayed ──>
 *   writes under way have ended ──> set aside, refused letters, retained and queued messages are gone ──> confirmed
 *
 * From then on nothing older of the device can come from this gateway, and PostgreSQL can be cleared. A gateway that was
 * killed does the same at its next start, before it replays; one that was cut off, before it writes again (erasure-lease.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import {
  confirmErasures, endSessions, type ErasureRequest, forgetErasures, insertErasure, leaveGateway, registerGateway, selectConfirmed,
  selectDoneErasures, selectErasures, selectUnconfirmed, takeOverErasures, type UnconfirmedGateway
} from '../../db/erase/erasure-requests.ts'
import { StorageError } from '../../db/storage-error.ts'
import type { Tables } from '../../db/tables.ts'
import type { ErasedDevices } from '../ingest/journal/spool/erased-devices.ts'
import { eraseSetAside } from '../ingest/journal/spool/set-aside.ts'
import type { Pipeline } from '../ingest/pipeline.ts'
import type { ErasureLease } from './erasure-lease.ts'

const POLL_MS = 20
const BARRIER_WAIT_MAX_MS = 30_000
/** Three times the lease: a gateway that has not answered by then does not write before it has read the request. */
const CONFIRM_WAIT_MAX_MS = 15_000
/** For one that is not connected: a gateway that lives looks each second, and so connects. */
const AWAY_WAIT_MAX_MS = 3000
const CONFIRM_POLL_MS = 100

/** Where a gateway is in an erasure: for tests that kill it there. */
export type ErasureStep = 'requested' | 'seen' | 'marked' | 'confirmed' | 'awaited' | 'registered' | 'logged' | 'deleted'

/** Messages of a device that a broker has removed. */
export interface BrokerMessages {
  readonly retained: number
  readonly queued: number
}

/** A gateway on the database, and what it says of a request; `away` is not connected, `silent` is and did not answer. */
export interface GatewayAnswer {
  readonly name: string
  readonly state: 'confirmed' | 'silent' | 'away'
  /** False: of a version that knows nothing of requests. */
  readonly isRegistered: boolean
}

export interface ErasureRequestsOptions {
  readonly kysely: Kysely<Tables>
  /** application_name of this gateway. */
  readonly name: string
  readonly lease: ErasureLease
  readonly erased: ErasedDevices
  readonly pipeline: Pick<Pipeline, 'batcher' | 'spool' | 'writes' | 'refusedLetters'>
  readonly spoolDirectory: string
  /** Removes the broker's messages of a device. */
  readonly forget: (device: string) => BrokerMessages
  /** PostgreSQL holds nothing of a device any more; another gateway has deleted it. */
  readonly onDeleted: (device: string) => Promise<void>
  readonly onStep?: ((step: ErasureStep) => void | Promise<void>) | undefined
  readonly isStopping: () => boolean
  readonly logger: Logger
}

export type ErasureRequests = ReturnType<typeof createErasureRequests>

/** See the top of this file. */
export function createErasureRequests (options: ErasureRequestsOptions) {
  const { kysely, name, lease, erased, spoolDirectory, forget, onDeleted, onStep, isStopping, logger } = options
  const { batcher, spool, writes, refusedLetters } = options.pipeline
  /** Of other gateways: confirmed here, and not yet known to be deleted. */
  const open = new Map<number, string>()
  /** Of own requests. */
  const dropped = new Map<number, BrokerMessages>()
  let last: Promise<unknown> = Promise.resolve()

  async function drop (requests: readonly ErasureRequest[]): Promise<void> {
    const startedAtMs = performance.now()
    while (!(batcher.oldestAcceptedAtMs > startedAtMs)) {
      if (isStopping() || performance.now() - startedAtMs > BARRIER_WAIT_MAX_MS) {
        throw new StorageError('VITAL_ERASURE_BUSY', 'readings that were accepted before are not durable yet')
      }
      await sleep(POLL_MS)
    }
    const devices = [...new Set(requests.map(({ device }) => device))]
    const before = await spool.cut()
    if (spool.firstSegment < before) await erased.add(devices, before)
    // One that is under way may hold readings that were taken from the spool before.
    await writes.settled()
    await onStep?.('marked')
    for (const device of devices) {
      await eraseSetAside(spoolDirectory, device)
      await refusedLetters.erase(device)
    }
    for (const { id, device, coordinator } of requests) {
      const messages = forget(device)
      if (coordinator === name) {
        dropped.set(id, messages)
        continue
      }
      open.set(id, device)
      logger.info({ erasure: id }, 'a device is erased, as another gateway was asked')
    }
  }

  async function lookNow (): Promise<void> {
    const { seen } = lease
    if (seen === null) return
    const askedAtMs = performance.now()
    const requests = await selectErasures(kysely, seen)
    if (requests.length > 0) {
      await onStep?.('seen')
      await drop(requests)
      const through = requests.at(-1)!.id
      await erased.see(through)
      await confirmErasures(kysely, erased.spoolId, through)
      lease.seen = through
      await onStep?.('confirmed')
    }
    lease.renew(askedAtMs)
    await erased.forget(spool.firstSegment)
    if (open.size === 0) return
    for (const id of await selectDoneErasures(kysely, [...open.keys()])) {
      const device = open.get(id)!
      await onDeleted(device)
      forget(device)
      open.delete(id)
    }
  }

  /** Deals with new requests. One look at a time. */
  function look (): Promise<void> {
    const looked = last.then(lookNow)
    last = looked.catch(() => {})
    return looked
  }

  return {
    look,

    /** Makes this gateway known, and deals with what was requested while it was away. Before anything is replayed. */
    async register (): Promise<void> {
      lease.seen = await registerGateway(kysely, { id: erased.spoolId, name })
      await erased.see(lease.seen)
      await look()
    },

    /** @returns the id of a request, once it is durable and cannot be taken back, and this gateway has dealt with it */
    async request (device: string, actor: string): Promise<number> {
      const id = await insertErasure(kysely, { device, actor, coordinator: name })
      await onStep?.('requested')
      return id
    },

    /** @returns what the broker had of the device when this gateway dealt with its request */
    takeDropped (id: number): BrokerMessages {
      const messages = dropped.get(id)
      dropped.delete(id)
      return messages ?? { retained: 0, queued: 0 }
    },

    /** Waits for the gateways that are connected. @returns what each says; those that are not connected are among them */
    async awaitOthers (id: number): Promise<GatewayAnswer[]> {
      const startedAtMs = performance.now()
      const isAwaited = ({ isConnected, isRegistered }: UnconfirmedGateway) => isRegistered &&
        performance.now() - startedAtMs < (isConnected ? CONFIRM_WAIT_MAX_MS : AWAY_WAIT_MAX_MS)
      const ask = () => selectUnconfirmed(kysely, id, { name, id: erased.spoolId })
      let unconfirmed = await ask()
      while (unconfirmed.some(isAwaited)) {
        if (isStopping()) {
          throw new StorageError('VITAL_ERASURE_BUSY', 'the gateway stops; another one goes on, or this one at its next start')
        }
        await sleep(CONFIRM_POLL_MS)
        unconfirmed = await ask()
      }
      for (const { name, isConnected, isRegistered } of unconfirmed) if (isConnected && isRegistered) await endSessions(kysely, name)
      await onStep?.('awaited')
      const confirmed = (await selectConfirmed(kysely, id)).map((name) => ({ name, state: 'confirmed' as const, isRegistered: true }))
      return [...confirmed, ...unconfirmed.map(toAnswer)]
    },

    /** What is not done and under way nowhere: this gateway's from now on. While it erases nothing. */
    takeOver: () => takeOverErasures(kysely, name),
    forgetDone: () => forgetErasures(kysely),

    /** This gateway stops. */
    async leave (): Promise<void> {
      if (lease.seen === null) return
      await leaveGateway(kysely, erased.spoolId, spool.isEmpty && spool.firstSegment === Infinity)
    },

    /** Settles when no look is under way. */
    async settled (): Promise<void> {
      await last
    }
  }
}

function toAnswer ({ name, isConnected, isRegistered }: UnconfirmedGateway): GatewayAnswer {
  return { name, state: isConnected ? 'silent' : 'away', isRegistered }
}
