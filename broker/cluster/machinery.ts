import type { Logger } from 'pino'
import type { ClusterParts } from '../cluster.ts'
import { toShared } from '../statistics.ts'
import { Adoption } from './adoption.ts'
import { Claims } from './claims.ts'
import { Forwarding } from './forwarding.ts'
import type { Frame } from './frame.ts'
import { Handover } from './handover.ts'
import { Inbox } from './inbox.ts'
import { Interest } from './interest.ts'
import type { Joining } from './joining.ts'
import type { ClusterLimits } from './limits.ts'
import { Members } from './members.ts'
import { Outbox } from './outbox.ts'
import { Reclaim } from './reclaim.ts'
import { RedisLink } from './redis/redis-link.ts'
import { RetainedLog } from './retained-log.ts'
import { SessionStore } from './session-store.ts'
import type { CopiedWills } from './wills/copied-wills.ts'

interface MachineryOptions {
  readonly url: string
  readonly id: string
  readonly limits: ClusterLimits
  readonly parts: () => ClusterParts
  readonly joining: Joining
  readonly copiedWills: CopiedWills
  readonly logger: Logger
}

/** Wires the parts of a cluster. Nothing runs yet. */
export function createMachinery ({ url, id, limits, parts, joining, copiedWills, logger }: MachineryOptions) {
  const { link, reader, retainedReader } = createLinks({ url, id, limits, joining, logger })

  const self = () => members.self
  const outbox: Outbox = new Outbox({
    self,
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    flush: () => { store.flush() },
    limits,
    logger
  })
  const onLost = () => { joining.join(true) }
  const interest = new Interest({
    link, members: () => members, outbox, onLost, resendIntervalMs: limits.renewIntervalMs, timeoutMs: limits.interestTimeoutMs, logger
  })
  const whenKnown = () => interest.whenKnown()
  const forwarding = new Forwarding({
    self,
    interest,
    outbox,
    isLive: (gateway) => members.isLive(gateway),
    isReplaced: () => joining.isReplaced,
    deliverHere: (message) => { parts().deliverHere(message) }
  })
  const store: SessionStore = new SessionStore({
    link,
    outbox,
    self,
    position: () => inbox.position,
    mayWrite: () => link.isUp && !members.isLapsed,
    isHolding: () => handover.isHolding || adoption.isUnderWay,
    stateOf: (clientId) => parts().sessions.stateOf(clientId),
    deliveriesOf: (clientId) => parts().sessions.find(clientId)?.deliveries() ?? [],
    isConnected: (clientId) => parts().connections.holderOf(clientId) !== undefined,
    copiedWills,
    onLost: (clientId) => { reclaim.lose(clientId) },
    onUnknown: (clientId) => { claims.unclaimed.add(clientId) },
    limits,
    logger
  })
  const shared = { link, self, store, parts, limits, logger }
  const handover = new Handover({
    ...shared,
    tell: (gateway, notice) => { outbox.add(gateway, notice) },
    whenKnown,
    whenAdopted: () => adoption.whenDone(),
    whenClaimed: (clientId) => claims.settled(clientId),
    passage: forwarding.passage,
    seen: () => forwarding.seen()
  })
  const members = new Members({
    id,
    link,
    told: () => toShared(parts().statistics()),
    onJoined: (gateway) => {
      interest.load(gateway).catch((error: unknown) => { logger.debug({ err: error, gateway }, 'subscriptions elsewhere are not known') })
    },
    onDied: (gateway) => {
      interest.answered(gateway)
      handover.abandon(gateway)
      adoption.lookAround()
    },
    onGone: forget,
    onLost,
    onRefused: () => { joining.noteRefused() },
    limits,
    logger
  })
  const adoption: Adoption = new Adoption({
    ...shared,
    members,
    passage: forwarding.passage,
    drop: (clientId) => { handover.drop(clientId) },
    whenKnown,
    written: () => outbox.settled(),
    notBeforeMs: () => joining.graceUntilMs
  })
  const claims: Claims = new Claims({ ...shared, joining, handover, adopted: (gateway) => adoption.settled(gateway) })
  const reclaim = new Reclaim({ ...shared, joining, handover, unclaimed: claims.unclaimed, copiedWills })
  const retained = new RetainedLog({ link, reader: retainedReader, self, parts, blockMs: limits.blockMs, logger })
  const inbox = new Inbox({
    link: reader,
    self,
    blockMs: limits.blockMs,
    onFrame,
    onGap: (gateway) => { interest.load(gateway).catch(() => {}) },
    onBroken: onLost,
    logger
  })

  function onFrame (frame: Frame, bodies: Buffer): void {
    switch (frame.t) {
      case 'm': return forwarding.receive(frame.o, frame.m, bodies)
      case 'i':
        interest.learn(frame.o, frame.add, frame.del)
        outbox.add(frame.o, { t: 'known', v: frame.v })
        return meet(frame.o)
      case 'known': return interest.answered(frame.o, frame.v)
      case 'erase':
        parts().forgetHere(frame.device)
        return
      default: handover.take(frame.o, frame)
    }
  }

  /** A gateway that is unknown here has just joined, or was removed. */
  function meet (gateway: string): void {
    if (members.has(gateway)) return
    members.renew().then(() => {
      if (!members.has(gateway)) forget(gateway)
    }, () => {})
  }

  function forget (gateway: string): void {
    interest.forget(gateway)
    handover.abandon(gateway)
    outbox.forget(gateway)
    inbox.forget(gateway)
    forwarding.forget(gateway)
  }

  return {
    link, reader, retainedReader, members, interest, outbox, inbox, store, reclaim, retained, forwarding, claims, handover, adoption
  }
}

type LinksOptions = Pick<MachineryOptions, 'url' | 'id' | 'limits' | 'joining' | 'logger'>

/** The connections to Redis: one for commands, and two that wait for the entries of a stream each. */
function createLinks ({ url, id, limits, joining, logger }: LinksOptions) {
  const options = { ...limits, url, logger }
  const ofReader = { ...options, commandTimeoutMs: limits.blockMs + limits.commandTimeoutMs, onDown () {} }
  return {
    link: new RedisLink({
      ...options, name: `vital-${id}`, onUp: () => { joining.join(false) }, onDown: () => { joining.noteDown() }
    }),
    reader: new RedisLink({ ...ofReader, name: `vital-${id}-stream`, onUp: () => { joining.startInbox() } }),
    retainedReader: new RedisLink({ ...ofReader, name: `vital-${id}-retained`, onUp: () => { joining.startRetained() } })
  }
}
