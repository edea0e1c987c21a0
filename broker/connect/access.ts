import type { Principal } from '../../schemas/principal.ts'
import { RESERVED_PREFIX } from '../topics.ts'
import type { Login } from './login.ts'

/** What a login was granted. */
export interface Grant {
  readonly principal: Principal | null
  /** The one topic that may be published on; `null` for any. */
  readonly publishTopic: string | null
  /** Unix milliseconds; infinite for most. */
  readonly expiresAtMs: number
  /** Whether the connection counts as one of its persistent session. */
  readonly isAttached: boolean
}

/** The login of one connection, and what it was granted. Changed in connect/ only. */
export class Access {
  #login: Login | null
  #principal: Principal | null | undefined = undefined
  #publishTopic: string | null = null
  #expiresAtMs = Infinity
  #isAttached = false

  constructor (login: Login | null) {
    this.#login = login
  }

  /** The login while it is under way. */
  get login (): Login | null {
    return this.#login
  }

  /** `null` without credentials in the open mode; `undefined` until the login has succeeded. */
  get principal (): Principal | null | undefined {
    return this.#principal
  }

  /** Unix milliseconds at which the credentials end; infinite for most. */
  get expiresAtMs (): number {
    return this.#expiresAtMs
  }

  get isAttached (): boolean {
    return this.#isAttached
  }

  mayPublish (topic: string): boolean {
    return this.#publishTopic === null ? !topic.startsWith(RESERVED_PREFIX) : topic === this.#publishTopic
  }

  /** The same for `vital/{device}`. */
  mayPublishVital (topic: string): boolean {
    return this.#publishTopic === null || topic === this.#publishTopic
  }

  begin (login: Login): void {
    this.#login = login
  }

  grant ({ principal, publishTopic, expiresAtMs, isAttached }: Grant): void {
    this.#principal = principal
    this.#publishTopic = publishTopic
    this.#expiresAtMs = expiresAtMs
    this.#isAttached = isAttached
  }

  /** The login has its answer. */
  finish (): void {
    this.#login = null
  }

  expireAt (expiresAtMs: number): void {
    this.#expiresAtMs = expiresAtMs
  }

  /** Nothing may be published any more, the will included: no topic is empty [MQTT-4.7.3-1]. */
  revoke (): void {
    this.#publishTopic = ''
  }

  /** The connection has closed. */
  end (): void {
    this.#login?.end()
  }
}
