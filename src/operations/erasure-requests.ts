/**
 * The part of a gateway in an erasure that any gateway on the database was asked for.
 *
 * A request is a row in PostgreSQL. Every gateway checks for new ones each second, and after a start before it replays
 * its spool. For each request:
 *
 *   readings accepted before are in PostgreSQL or in the spool ──> those in the spool are not replayed ──>
 *   writes under way have ended ──> files set aside, refused letters, retained and queued messages are removed ──>
 *   confirmed
 *
 * From then on this gateway cannot write older readings of the device, and PostgreSQL can be cleared. A gateway that
 * was killed does the same at its next start, before it replays. One that was cut off does it before it writes again
 * (erasure-lease.ts).
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
/** Three times the lease. A gateway that has not answered by then cannot write before it has read the request. */
const CONFIRM_WAIT_MAX_MS = 15_000
/** Wait for a gateway that is not connected. A live gateway checks each second, and connects for that. */
const AWAY_WAIT_MAX_MS = 3000
const CONFIRM_POLL_MS = 100

/** Steps of an erasure, at which tests kill a gateway. */
export type ErasureStep = 'requested' | 'seen' | 'marked' | 'confirmed' | 'awaited' | 'registered' | 'logged' | 'deleted'

/** Messages of a device that a broker has removed. */
export interface BrokerMessages {
  readonly retained: number
  readonly queued: number
}

/** A gateway on the database and its answer to a request. `away`: not connected; `silent`: connected, but no answer. */
export interface GatewayAnswer {
  readonly name: string
  readonly state: 'confirmed' | 'silent' | 'away'
  /** False for a version that does not support requests. */
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
  /** Called when another gateway has deleted a device from PostgreSQL. */
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
  /** Requests of other gateways that are confirmed here and not yet known to be done: devices by id. */
  const open = new Map<number, string>()
  /** Removed messages of own requests, by id. */
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
    // A write that is under way may hold readings that were read from the spool before.
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

  /** Checks for new requests and deals with them. One check at a time. */
  function look (): Promise<void> {
    const looked = last.then(lookNow)
    last = looked.catch(() => {})
    return looked
  }

  return {
    look,

    /** Registers this gateway, and deals with requests that it missed. Called before anything is replayed. */
    async register (): Promise<void> {
      lease.seen = await registerGateway(kysely, { id: erased.spoolId, name })
      await erased.see(lease.seen)
      await look()
    },

    /** Makes a request, which cannot be taken back. @returns its id, once it is durable */
    async request (device: string, actor: string): Promise<number> {
      const id = await insertErasure(kysely, { device, actor, coordinator: name })
      await onStep?.('requested')
      return id
    },

    /** @returns the broker's messages of the device that were removed when this gateway dealt with its own request */
    takeDropped (id: number): BrokerMessages {
      const messages = dropped.get(id)
      dropped.delete(id)
      return messages ?? { retained: 0, queued: 0 }
    },

    /** Waits for the other gateways, within limits. @returns the answer of each, also of those that are not connected */
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

    /** Takes over erasures that are not done and that no gateway carries out. Must not be called during an erasure. */
    takeOver: () => takeOverErasures(kysely, name),
    forgetDone: () => forgetErasures(kysely),

    /** Called when this gateway stops. */
    async leave (): Promise<void> {
      if (lease.seen === null) return
      await leaveGateway(kysely, erased.spoolId, spool.isEmpty && spool.firstSegment === Infinity)
    },

    /** Settles when no check is under way. */
    async settled (): Promise<void> {
      await last
    }
  }
}

function toAnswer ({ name, isConnected, isRegistered }: UnconfirmedGateway): GatewayAnswer {
  return { name, state: isConnected ? 'silent' : 'away', isRegistered }
}
