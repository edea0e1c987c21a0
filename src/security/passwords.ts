/**
 * Checks of passwords chosen by people, with argon2id, off the event loop.
 *
 * Each check costs 19 MiB and about 20 ms of a core, on purpose. A few checks run at once and the rest wait in bounded
 * queues, served in turn by address, so that a storm neither fills the memory nor starves the disk. A check whose
 * caller has gone is dropped. Addresses that send wrong passwords one after the other are checked aside: one at a
 * time, with rests, on idle processor time. Otherwise guessing kept both cores busy and delayed the acknowledgements
 * of every client. The last verified password of a device is remembered under an HMAC whose key never leaves this
 * process. So the memory holds nothing that a guess could be tested on faster than on the argon2id hash.
 *
 * An unknown id, and an id without a password, is checked against a hash that no password matches, so that the answer
 * takes as long.
 */
import { createHmac, randomBytes } from 'node:crypto'
import type * as Argon2 from '@node-rs/argon2'
import { toAddressKey } from '../../broker/listen/address-key.ts'
import type { Credentials } from '../../broker/connect/credentials.ts'
import { FairQueue } from '../../broker/connect/fair-queue.ts'
import { GrowingDelay } from '../../broker/connect/growing-delay.ts'
import { verifyIdly } from './idle-verify.ts'
import { SECURITY_LIMITS } from './limits.ts'
import { LruMap } from './lru-map.ts'

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const ARGON2ID = { algorithm: 2, memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 } as const

/** Salt and hash are random bytes, so no password is known to have it; with {@link ARGON2ID}'s parameters. */
const NOBODY = '$argon2id$v=19$m=19456,t=2,p=1$PXjSO6afDJya2Uelsd/4bQ$tkslvZYjfvczdP2LMgw8cIDOlUTIe28l97gusR+twhg'

/** The form of a PHC string of argon2id. */
const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/

/** Largest memory in KiB, and passes, of an imported hash: more could fill the gateway's memory or slow it down. */
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

/** The client that presents a password. */
export type Asker = Pick<Credentials, 'origin' | 'isOver'>

/** A check under way or waiting. */
interface Check {
  readonly address: string
  readonly hashes: readonly string[]
  readonly password: Buffer
  /** The latest caller: a device that gives up and comes back joins its own check. */
  asker: Asker
  readonly result: Promise<PasswordCheck>
  readonly settle: (result: PasswordCheck | Promise<PasswordCheck>) => void
}

/**
 * The result of a check: the first hash that matches the password. `unavailable`: too many checks wait, or checking
 * has stopped.
 */
export type PasswordCheck = { readonly argon2id: string } | 'wrong' | 'unavailable'

/** @returns whether the password has this PHC string */
type Verify = (argon2id: string, password: Buffer) => Promise<boolean>

/** The queue of password checks, and the memory of verified passwords. */
export function createPasswords ({ verify = verifyNatively, verifyAside = verifyIdly, atOnceMax = SECURITY_LIMITS.passwordsAtOnceMax }: {
  /** Instead of argon2id itself. */
  readonly verify?: Verify
  /** For guesses. */
  readonly verifyAside?: Verify
  readonly atOnceMax?: number
} = {}) {
  const key = randomBytes(32)
  const remembered = new LruMap<string, Exclude<PasswordCheck, string>>({ sizeMax: SECURITY_LIMITS.passwordsRememberedMax })
  const checks = new Map<string, Check>()
  const queue = new FairQueue<Check>()
  const wrong = new GrowingDelay(SECURITY_LIMITS.wrongPasswordsOfAddress)
  const isTrusted = (address: string) => wrong.isFree(address, performance.now())
  const isSuspect = (address: string) => !isTrusted(address)
  const state = { running: 0, isAsideBusy: false }

  /** The hashes are part of the key, so that a changed password is not remembered. */
  function toKey (id: string, hashes: readonly string[], password: Buffer): string {
    const hmac = createHmac('sha256', key)
    hmac.update(JSON.stringify([id, hashes])).update('\0').update(password)
    return hmac.digest('binary')
  }

  function pump (): void {
    while (state.running < atOnceMax) {
      const next = queue.next(isAwaited, isTrusted)
      if (next === undefined) break
      state.running++
      next.settle(run(next, verify).finally(() => {
        state.running--
        pump()
      }))
    }
    const guess = state.isAsideBusy ? undefined : queue.next(isAwaited, isSuspect)
    if (guess === undefined) return
    state.isAsideBusy = true
    const startMs = performance.now()
    guess.settle(run(guess, verifyAside).finally(() => {
      setTimeout(openAside,
        Math.min((performance.now() - startMs) * SECURITY_LIMITS.guessRests, SECURITY_LIMITS.guessRestMaxMs))
    }))
  }

  function openAside (): void {
    state.isAsideBusy = false
    pump()
  }

  /** Settles a check as unavailable when its caller has gone. */
  function isAwaited ({ asker, settle }: Check): boolean {
    if (!asker.isOver) return true
    settle('unavailable')
    return false
  }

  async function run ({ address, hashes, password }: Check, verify: Verify): Promise<PasswordCheck> {
    let right: string | null = null
    // Every hash is checked, so that the time reveals nothing.
    for (const hash of hashes.length === 0 ? [NOBODY] : hashes) if (await verify(hash, password)) right ??= hash
    if (right !== null && hashes.length > 0) return { argon2id: right }
    wrong.add(address, performance.now())
    return 'wrong'
  }

  function enqueue (
    memory: string, of: Pick<Check, 'address' | 'hashes' | 'password' | 'asker'>
  ): Promise<PasswordCheck> {
    let settle!: Check['settle']
    const settled = new Promise<PasswordCheck>((resolve) => { settle = resolve })
    const result = conclude(memory, settled)
    const check = { ...of, result, settle }
    checks.set(memory, check)
    queue.add(check.address, check)
    pump()
    return result
  }

  async function conclude (memory: string, settled: Promise<PasswordCheck>): Promise<PasswordCheck> {
    try {
      const result = await settled
      if (typeof result === 'object') remembered.set(memory, result)
      return result
    } finally {
      checks.delete(memory)
    }
  }

  /**
   * An address may take half of the room that the others leave, so that one more always fits. A guessing address gets
   * hardly any: a login that waits costs more than one that is refused.
   */
  function hasRoom (address: string): boolean {
    const waiting = queue.lengthOf(address)
    const others = queue.size - waiting
    return waiting < (isSuspect(address)
      ? SECURITY_LIMITS.guessesWaitingMax
      : (SECURITY_LIMITS.passwordsWaitingMax - others) / 2)
  }

  return {
    /**
     * Checks a password; at once when it was verified before.
     * @param hashes - the PHC strings that it may have; empty for an unknown id
     * @throws when the native module cannot be loaded, or a hash cannot be read
     */
    check (
      id: string, hashes: readonly string[], password: Buffer, asker: Asker
    ): PasswordCheck | Promise<PasswordCheck> {
      if (password.length > SECURITY_LIMITS.passwordBytesMax) return 'wrong'
      const memory = toKey(id, hashes, password)
      const right = remembered.get(memory)
      if (right !== undefined) return right
      const underWay = checks.get(memory)
      if (underWay !== undefined) {
        underWay.asker = asker
        return underWay.result
      }
      const address = toAddressKey(asker.origin.remoteAddress)
      return hasRoom(address) ? enqueue(memory, { address, hashes, password, asker }) : 'unavailable'
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
