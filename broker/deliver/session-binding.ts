import type { Link } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'

/** The session of one connection, and the link by which the session reaches it. Changed by deliverer.ts only. */
export class SessionBinding {
  #session: Session | null = null
  #link: Link | null = null

  /** `null` while it subscribes to nothing and nothing is queued for it. A clean session ends with its connection. */
  get session (): Session | null {
    return this.#session
  }

  /** `null` until CONNACK is sent. */
  get link (): Link | null {
    return this.#link
  }

  bind (session: Session): void {
    this.#session = session
  }

  setLink (link: Link): void {
    this.#link = link
  }

  unbind (): void {
    this.#session = null
    this.#link = null
  }
}
