import type { Subscription } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'

/** Members that are considered for one message, so that thousands of absent ones do not hold up the event loop. */
const LOOKS_MAX = 16

/**
 * The sessions of one shared subscription (MQTT 5 §4.8.2), which take its messages in turn. A session whose client is
 * connected comes before one whose client is away. A message stays with the session that was given it.
 */
export class ShareGroup {
  /** In the order of their turns. */
  readonly #members = new Map<Session, Subscription>()

  get size (): number {
    return this.#members.size
  }

  set (session: Session, subscription: Subscription): void {
    this.#members.set(session, subscription)
  }

  delete (session: Session): void {
    this.#members.delete(session)
  }

  /** The session that takes the next message, with its subscription; `null` for an empty group. */
  next (): readonly [Session, Subscription] | null {
    let absent: readonly [Session, Subscription] | null = null
    let looks = 0
    for (const member of this.#members) {
      const [session, subscription] = member
      this.#members.delete(session)
      this.#members.set(session, subscription)
      if (session.link !== null) return member
      absent ??= member
      if (++looks === LOOKS_MAX) break
    }
    return absent
  }
}
