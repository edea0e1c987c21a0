import type { PublishedMessage } from '../deliver/fan-out.ts'
import type { CurrentPassage } from '../session/held-deliveries.ts'
import { RESERVED_PREFIX } from '../topics.ts'
import { type RoutedHeader, toMessage } from './frame.ts'
import type { Interest } from './interest.ts'
import type { Outbox } from './outbox.ts'

interface ForwardingOptions {
  readonly self: () => string
  readonly interest: Pick<Interest, 'matching' | 'has'>
  readonly outbox: Pick<Outbox, 'addMessage'>
  readonly isLive: (gateway: string) => boolean
  /** Another gateway has the sessions of this one. Nothing is acknowledged, so all of it comes again. */
  readonly isReplaced: () => boolean
  readonly deliverHere: (message: PublishedMessage) => void
}

/** Gateways that get one message, each with the shared subscriptions that it has the turn of. */
type Targets = Map<string, string[] | undefined>

/** Messages on their way to other gateways, and from them. */
export class Forwarding {
  readonly #options: ForwardingOptions
  readonly #passage = { origin: '', number: 0, setAside: 0 }
  #number = 0
  /** Of the message that is being routed: shared subscriptions of this gateway that are served, or that are not. */
  #shares: { readonly isServed: boolean, readonly filters: ReadonlySet<string> } | null = null
  /** Whose turn it is at each shared subscription of several gateways. */
  readonly #turns = new Map<string, number>()
  /** Number of the last message of each gateway that was delivered here. */
  readonly #seen = new Map<string, number>()
  received = 0

  constructor (options: ForwardingOptions) {
    this.#options = options
  }

  /** Origin and number of the message that is being routed. */
  get passage (): CurrentPassage {
    return this.#passage
  }

  /** Numbers of the last messages that sessions here have got, by the gateway that published them. */
  seen (): Record<string, number> {
    return { ...Object.fromEntries(this.#seen), [this.#options.self()]: this.#number }
  }

  forget (gateway: string): void {
    this.#seen.delete(gateway)
  }

  forward (message: PublishedMessage): void {
    const { self, interest, outbox } = this.#options
    this.#shares = null
    this.#passage.origin = self()
    this.#passage.number = ++this.#number
    if (message.topic.startsWith(RESERVED_PREFIX) || this.#options.isReplaced()) return
    const found = interest.matching(message.topic)
    if (found.length === 0) return
    for (const [gateway, shares] of this.#toTargets(found)) outbox.addMessage(gateway, this.#number, message, shares)
  }

  servesShare (filter: string): boolean {
    return this.#shares === null || this.#shares.filters.has(filter) === this.#shares.isServed
  }

  /** Delivers the messages of one entry. */
  receive (origin: string, headers: readonly RoutedHeader[], bodies: Buffer): void {
    let at = 0
    for (const header of headers) {
      const { message, end } = toMessage(header, bodies, at)
      at = end
      this.received++
      this.#seen.set(origin, header.n)
      this.#passage.origin = origin
      this.#passage.number = header.n
      this.#shares = { isServed: true, filters: new Set(header.s) }
      this.#options.deliverHere(header.c === undefined ? message : { ...message, clientId: header.c })
    }
  }

  #toTargets (found: ReturnType<Interest['matching']>): Targets {
    const targets: Targets = new Map()
    const candidates = new Map<string, string[]>()
    for (const gateways of found) {
      for (const [gateway, { isPlain, shares }] of gateways) {
        if (isPlain && !targets.has(gateway)) targets.set(gateway, undefined)
        for (const share of shares) {
          const others = candidates.get(share)
          if (others === undefined) candidates.set(share, [gateway])
          else others.push(gateway)
        }
      }
    }
    if (candidates.size > 0) this.#deal(candidates, targets)
    return targets
  }

  /** Gives the turn at each shared subscription to one gateway: to a dead one only where no live one has a member. */
  #deal (candidates: ReadonlyMap<string, string[]>, targets: Targets): void {
    const { self, interest, isLive } = this.#options
    const left = new Set<string>()
    for (const [share, all] of candidates) {
      const live = all.filter(isLive)
      if (interest.has(share)) live.push(self())
      const gateways = live.length > 0 ? live : all
      const turn = (this.#turns.get(share) ?? 0) % gateways.length
      this.#turns.set(share, turn + 1)
      const chosen = gateways[turn]!
      if (chosen === self()) continue
      left.add(share)
      targets.set(chosen, [...targets.get(chosen) ?? [], share])
    }
    this.#shares = { isServed: false, filters: left }
  }
}
