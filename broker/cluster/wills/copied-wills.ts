import type { KeptWill, KeptWills } from '../../wills/will.ts'
import type { Argument } from '../redis/redis-link.ts'
import { encodeWill } from './stored-will.ts'

/** Field of a client's hash. */
const FIELD = 'w'

/** A will that is due while another gateway may have it. */
interface Doubt {
  /** Another gateway has it. */
  isTaken: boolean
}

/** Which wills Redis has of clients here: a will is written once, and not with each change of its session. */
export class CopiedWills {
  readonly #of: KeptWills['of']
  readonly #copied = new Map<string, object>()
  readonly #doubts = new Map<string, Doubt>()

  constructor (of: KeptWills['of']) {
    this.#of = of
  }

  /** The will of a client as it is; `null`: none. */
  of (clientId: string): KeptWill | null {
    return this.#of(clientId)
  }

  /** Whether Redis has one of a client, as far as this gateway knows. */
  has (clientId: string): boolean {
    return this.#copied.has(clientId)
  }

  forget (clientId: string): void {
    this.#copied.delete(clientId)
  }

  /** Another gateway has the will of a client. */
  noteTaken (clientId: string): void {
    this.forget(clientId)
    const doubt = this.#doubts.get(clientId)
    if (doubt !== undefined) doubt.isTaken = true
  }

  /** Begins to note whether another gateway has the will of a client, until {@link CopiedWills.endDoubt}. */
  doubt (clientId: string): Readonly<Doubt> {
    const doubt = this.#doubts.get(clientId) ?? { isTaken: false }
    this.#doubts.set(clientId, doubt)
    return doubt
  }

  endDoubt (clientId: string): void {
    this.#doubts.delete(clientId)
  }

  /**
   * What is to be written of a client; counts as written.
   * @param isAnew - Redis has nothing of it
   * @returns field and value, and fields to delete
   */
  take (clientId: string, isAnew: boolean): { readonly fields: Argument[], readonly deleted: string[] } {
    const kept = this.of(clientId)
    const copied = this.#copied.get(clientId)
    if (kept === null) {
      this.#copied.delete(clientId)
      return { fields: [], deleted: copied === undefined || isAnew ? [] : [FIELD] }
    }
    if (copied === kept.source && !isAnew) return { fields: [], deleted: [] }
    this.#copied.set(clientId, kept.source)
    return { fields: [FIELD, encodeWill(kept)], deleted: [] }
  }
}
