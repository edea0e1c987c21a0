import { setTimeout as sleep } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import type { PrincipalReview } from '../../broker/connect/revocations.ts'
import type { Principal } from '../../schemas/principal.ts'
import type { EndStatus } from './admitted-call.ts'
import { GRPC_LIMITS } from './limits.ts'
import type { PublishStream } from './publish-stream.ts'

const STOPPING: EndStatus = { code: status.UNAVAILABLE, details: 'the gateway stops; send again what has no answer' }
const REVOKED: EndStatus = { code: status.UNAUTHENTICATED, details: 'the credential was revoked or changed; open the stream again' }
const EXPIRED: EndStatus = { code: status.UNAUTHENTICATED, details: 'the credential has expired; open the stream again with another' }

const FLUSH_STEP_MS = 5

/** The open `Publish` streams: when all of them stop reading, and when one ends with its credentials. */
export class Streams {
  readonly #open = new Set<PublishStream>()
  #isPaused = false

  get size (): number {
    return this.#open.size
  }

  get isPaused (): boolean {
    return this.#isPaused
  }

  add (stream: PublishStream): void {
    this.#open.add(stream)
  }

  remove (stream: PublishStream): void {
    this.#open.delete(stream)
  }

  /** No stream is read until {@link resume}. */
  pause (): void {
    this.#isPaused = true
    for (const stream of this.#open) stream.updateGate()
  }

  resume (): void {
    this.#isPaused = false
    for (const stream of this.#open) stream.updateGate()
  }

  /** Ends those whose credentials have ended. @param nowMs - Unix milliseconds */
  expire (nowMs: number): void {
    for (const stream of this.#open) if (stream.call.expiresAtMs <= nowMs) stream.end(EXPIRED)
  }

  /** As of `Broker`: ends the streams of these principals. */
  disconnect (predicate: (principal: Principal | null) => boolean): void {
    for (const stream of this.#open) if (predicate(stream.call.principal)) stream.end(REVOKED)
  }

  /** As of `Broker`: principals changed. */
  review (review: PrincipalReview, ids?: ReadonlySet<string>): void {
    for (const stream of this.#open) {
      const { principal } = stream.call
      if (ids !== undefined && (principal === null || !ids.has(principal.id))) continue
      const untilMs = review(principal)
      if (untilMs === undefined) continue
      if (untilMs <= Date.now()) stream.end(REVOKED)
      else stream.call.expiresAtMs = untilMs
    }
  }

  /** The principal of every stream. */
  principals (): Array<Principal | null> {
    return [...this.#open].map(({ call }) => call.principal)
  }

  /** Ends all of them; answers that are due leave before, except to clients that do not read. */
  async stop (): Promise<void> {
    const deadlineMs = performance.now() + GRPC_LIMITS.endMs
    while (performance.now() < deadlineMs && [...this.#open].some(({ isFlushed }) => !isFlushed)) await sleep(FLUSH_STEP_MS)
    for (const stream of this.#open) stream.end(STOPPING)
  }
}
