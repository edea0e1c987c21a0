/**
 * Passwords that people chose, checked with argon2id off the event loop.
 *
 * Each check costs 19 MiB and about 20 ms of a core, on purpose. So that a storm of them neither fills the memory nor starves
 * the disk, a few run at once, the rest wait in a bounded queue, and what has waited too long is not checked at all. A
 * device that comes back finds its last verified password remembered: under an HMAC with a key that never leaves this
 * process, so that the memory holds nothing that a guess could be tried on faster than on the argon2id hash.
 *
 * Who does not exist, and who has no password, is checked against a hash that nothing matches: the answer takes as long.
 */
import { createHmac, randomBytes } from 'node:crypto'
import type * as Argon2 from '@node-rs/argon2'
import { SECURITY_LIMITS } from './limits.ts'
import { LruMap } from './lru-map.ts'

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const ARGON2ID = { algorithm: 2, memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 } as const

/** Salt and hash are random bytes, so no password is known to have it; with {@link ARGON2ID}'s parameters. */
const NOBODY = '$argon2id$v=19$m=19456,t=2,p=1$PXjSO6afDJya2Uelsd/4bQ$tkslvZYjfvczdP2LMgw8cIDOlUTIe28l97gusR+twhg'

/** What a PHC string of argon2id looks like. */
const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/

/** KiB of memory and passes of one imported hash: what an import could otherwise slow down or fill the gateway with. */
const MEMORY_KIB_MAX = 256 * 1024
const PASSES_MAX = 10

/** Loaded when the first password comes: it is a native module, and a gateway without passwords does without it. */
let native: Promise<typeof Argon2> | undefined

function loadNative (): Promise<typeof Argon2> {
  native ??= import('@node-rs/argon2')
  return native
}

/** Argon2id of a password, as a PHC string with a salt of its own. */
export async function hashPassword (password: string): Promise<string> {
  const { hash } = await loadNative()
  return await hash(password, ARGON2ID)
}

/** Whether an imported hash is one that {@link createPasswords} can check, at a bearable cost. */
export function isPasswordHash (text: string): boolean {
  const [, memory, passes, lanes] = PHC.exec(text) ?? []
  return memory !== undefined && Number(memory) <= MEMORY_KIB_MAX && Number(passes) <= PASSES_MAX && Number(lanes) <= 16
}

interface Waiting {
  readonly run: () => Promise<void>
  readonly giveUp: () => void
  readonly untilMs: number
}

/** What a check found; `unavailable`: the queue was full, or its turn did not come in time. */
export type PasswordCheck = 'right' | 'wrong' | 'unavailable'

/** The queue and the memory of verified passwords. */
export function createPasswords ({ verify = verifyNatively, atOnceMax = SECURITY_LIMITS.passwordsAtOnceMax }: {
  /** Instead of argon2id itself. @returns whether the password has this PHC string */
  readonly verify?: (argon2id: string, password: Buffer) => Promise<boolean>
  readonly atOnceMax?: number
} = {}) {
  const key = randomBytes(32)
  const remembered = new LruMap<string, true>({ sizeMax: SECURITY_LIMITS.passwordsRememberedMax })
  /** Checks under way or waiting: a device that gives up and comes back joins its own. */
  const checks = new Map<string, Promise<PasswordCheck>>()
  const queue = new Set<Waiting>()
  let running = 0

  /** The hashes are part of it, so that a changed password is not remembered. */
  function toKey (id: string, hashes: readonly string[], password: Buffer): string {
    const hmac = createHmac('sha256', key)
    hmac.update(JSON.stringify([id, hashes])).update('\0').update(password)
    return hmac.digest('binary')
  }

  function pump (): void {
    while (running < atOnceMax) {
      const [next] = queue
      if (next === undefined) return
      queue.delete(next)
      if (performance.now() > next.untilMs) {
        next.giveUp()
        continue
      }
      running++
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      next.run().finally(() => {
        running--
        pump()
      })
    }
  }

  function enqueue (hashes: readonly string[], password: Buffer): Promise<PasswordCheck> {
    return new Promise((resolve, reject) => {
      queue.add({
        untilMs: performance.now() + SECURITY_LIMITS.passwordWaitMaxMs,
        giveUp: () => { resolve('unavailable') },
        run: async () => {
          try {
            let isRight = false
            for (const hash of hashes) isRight = await verify(hash, password) || isRight
            resolve(isRight ? 'right' : 'wrong')
          } catch (error) {
            reject(error)
          }
        }
      })
      pump()
    })
  }

  async function checkSlowly (memory: string, hashes: readonly string[], password: Buffer): Promise<PasswordCheck> {
    try {
      const result = await enqueue(hashes.length === 0 ? [NOBODY] : hashes, password)
      if (result === 'right' && hashes.length > 0) remembered.set(memory, true)
      return hashes.length === 0 && result === 'right' ? 'wrong' : result
    } finally {
      checks.delete(memory)
    }
  }

  return {
    /**
     * Checks a password; at once when it was verified before.
     * @param hashes - the PHC strings that it may have; empty for who does not exist
     * @throws what loading the native module failed with
     */
    check (id: string, hashes: readonly string[], password: Buffer): PasswordCheck | Promise<PasswordCheck> {
      if (password.length > SECURITY_LIMITS.passwordBytesMax) return 'wrong'
      const memory = toKey(id, hashes, password)
      if (remembered.get(memory) === true) return 'right'
      const under = checks.get(memory)
      if (under !== undefined) return under
      if (queue.size >= SECURITY_LIMITS.passwordsWaitingMax) return 'unavailable'
      const check = checkSlowly(memory, hashes, password)
      checks.set(memory, check)
      return check
    },

    /** Checks that wait for their turn. */
    get waiting (): number {
      return queue.size
    }
  }
}

export type Passwords = ReturnType<typeof createPasswords>

async function verifyNatively (argon2id: string, password: Buffer): Promise<boolean> {
  const { verify } = await loadNative()
  return await verify(argon2id, password)
}
