/**
 * A disk in memory with the faults of real disks and kernels. Data that was not fsynced is at random lost, torn by sectors or
 * kept. A failed fsync drops data and marks it clean. Directory changes need their own fsync. Space runs out in the middle of
 * a write, reads fail for a while, and bits flip.
 *
 * Each file has two views: `cache`, which running processes see, and `stable`, which is left after a power failure.
 * Each operation takes a random number of microtasks, so a schedule is random and can be repeated from its seed.
 */
import { basename } from 'node:path'
import type { Disk, DiskFile } from '../../../../src/ingest/journal/spool/disk.ts'
import type { Random } from '../../../../scripts/harness/random.ts'

const SECTOR_BYTES = 512

type Change = { readonly offset: number, readonly bytes: Buffer } | { readonly length: number }

interface Inode {
  cache: Buffer
  stable: Buffer
  /** What the next fsync makes stable. */
  dirty: Change[]
}

type Names = Map<string, Inode>

type Step = <Result> (kind: keyof Faults | 'none', effect: () => Result) => Promise<Result>

/** Probabilities of faults, per operation. */
export interface Faults {
  readonly write: number
  readonly sync: number
  readonly syncDirectory: number
  readonly read: number
  readonly other: number
}

export const NO_FAULTS: Faults = { write: 0, sync: 0, syncDirectory: 0, read: 0, other: 0 }

/** A disk that breaks its guarantees. The checker must notice. */
export type Lie = 'none' | 'sync is a no-op' | 'sync settles before it is done' | 'directory sync is a no-op'

export class FakeDisk {
  readonly #random: Random
  readonly #lie: Lie
  #cache: Names = new Map()
  #stable: Names = new Map()
  /** Directory changes that are not stable yet, in order. */
  #changes: Array<(names: Names) => void> = []
  #epoch = 0
  #isLocked = false
  #openFiles = 0
  faults: Faults = NO_FAULTS
  capacityBytes = Infinity
  fileBytesMax = Infinity

  constructor (random: Random, lie: Lie = 'none') {
    this.#random = random
    this.#lie = lie
  }

  /** Descriptors that were not closed. */
  get openFiles (): number {
    return this.#openFiles
  }

  get names (): string[] {
    return [...this.#cache.keys()].map((path) => basename(path)).sort()
  }

  sizeOf (isCounted: (name: string) => boolean): number {
    return [...this.#cache].reduce((sum, [path, { cache }]) => sum + (isCounted(basename(path)) ? cache.length : 0), 0)
  }

  contents (isWanted: (name: string) => boolean): Buffer[] {
    return [...this.#cache].filter(([path]) => isWanted(basename(path))).map(([, { cache }]) => cache)
  }

  /** The process dies. Its pending operations never settle, and the kernel keeps all data that was written. */
  kill (): void {
    this.#epoch++
    this.#isLocked = false
    this.#openFiles = 0
  }

  /** The machine dies. */
  cutPower (): void {
    this.kill()
    const kept = this.#random.below(this.#changes.length + 1)
    for (const change of this.#changes.slice(0, kept)) change(this.#stable)
    this.#changes = []
    for (const inode of new Set(this.#stable.values())) {
      const share = this.#random.pick([0, 0.3, 0.7, 1])
      for (const change of inode.dirty) this.#tear(inode, change, share)
      inode.dirty = []
      inode.cache = Buffer.from(inode.stable)
    }
    this.#cache = new Map(this.#stable)
  }

  /** Flips one bit of the stable data. @returns the place, or `null` when there is no data */
  flipBit (): string | null {
    const files = [...this.#cache].filter(([, { cache }]) => cache.length > 0)
    if (files.length === 0) return null
    const [path, inode] = this.#random.pick(files)
    const offset = this.#random.below(inode.cache.length)
    const mask = 1 << this.#random.below(8)
    inode.cache[offset]! ^= mask
    if (offset < inode.stable.length) inode.stable[offset]! ^= mask
    return basename(path)
  }

  /** The disk as one process sees it. Its operations do nothing once that process is killed. */
  mount (): Disk {
    const epoch = this.#epoch
    const step: Step = (kind, effect) => this.#step(epoch, kind, effect)
    return {
      makeDirectory: () => step('other', () => {}),
      lock: () => step('none', () => {
        if (this.#isLocked) throw new Error('locked twice')
        this.#isLocked = true
        return async () => { this.#isLocked = false }
      }),
      list: () => step('other', () => this.names.reverse()),
      create: (path) => step('other', () => {
        if (this.#cache.has(path)) throw fault('EEXIST')
        if (this.#usedBytes() >= this.capacityBytes) throw fault('ENOSPC')
        const inode: Inode = { cache: Buffer.alloc(0), stable: Buffer.alloc(0), dirty: [] }
        this.#change((names) => { names.set(path, inode) })
        return this.#open(step, inode)
      }),
      openToRead: (path) => step('read', () => this.#open(step, this.#inode(path))),
      size: (path) => step('other', () => this.#inode(path).cache.length),
      truncate: (path, bytes) => step('other', () => {
        const inode = this.#inode(path)
        inode.cache = resize(inode.cache, bytes)
        inode.dirty.push({ length: bytes })
        this.#settle(inode)
      }),
      rename: (from, to) => step('other', () => {
        const inode = this.#inode(from)
        this.#change((names) => {
          names.delete(from)
          names.set(to, inode)
        })
      }),
      unlink: (path) => step('other', () => {
        this.#inode(path)
        this.#change((names) => { names.delete(path) })
      }),
      syncDirectory: () => step('syncDirectory', () => {
        if (this.#lie === 'directory sync is a no-op') return
        for (const change of this.#changes) change(this.#stable)
        this.#changes = []
      })
    }
  }

  #open (mountStep: Step, inode: Inode): DiskFile {
    this.#openFiles++
    let isOpen = true
    const step: Step = (kind, effect) => mountStep(kind, () => {
      if (!isOpen) throw fault('EBADF')
      return effect()
    })
    return {
      write: (buffers, offset) => this.#write(step, inode, Buffer.concat(buffers), offset),
      read: (into, offset) => step('read', () => inode.cache.copy(into, 0, offset)),
      sync: () => step('none', () => { this.#sync(inode) }),
      close: () => step('none', () => {
        isOpen = false
        this.#openFiles--
        if (this.#random.chance(this.faults.other)) throw fault('EIO')
      })
    }
  }

  async #write (step: Step, inode: Inode, bytes: Buffer, offset: number): Promise<void> {
    const room = Math.min(this.capacityBytes - this.#usedBytes(), this.fileBytesMax - inode.cache.length)
    const code = bytes.length <= room ? 'EIO' : offset + bytes.length > this.fileBytesMax ? 'EFBIG' : 'ENOSPC'
    const isFailing = bytes.length > room || this.#random.chance(this.faults.write)
    const length = isFailing ? this.#random.below(Math.max(0, Math.min(room, bytes.length)) + 1) : bytes.length
    // In two steps, so that the process can die between them.
    const middle = this.#random.below(length + 1)
    for (const [from, to] of [[0, middle], [middle, length]] as const) {
      await step('none', () => {
        inode.cache = resize(inode.cache, Math.max(inode.cache.length, offset + to))
        bytes.copy(inode.cache, offset + from, from, to)
        inode.dirty.push({ offset: offset + from, bytes: Buffer.from(bytes.subarray(from, to)) })
      })
    }
    if (isFailing) throw fault(code)
  }

  #sync (inode: Inode): void {
    if (this.#random.chance(this.faults.sync)) {
      // The kernel drops what it could not write, and will not try again.
      const share = this.#random.pick([0, 0.5])
      for (const change of inode.dirty) this.#tear(inode, change, share)
      inode.dirty = []
      throw fault(this.#random.pick(['EIO', 'ENOSPC', 'EDQUOT']))
    }
    if (this.#lie === 'sync is a no-op') return
    if (this.#lie !== 'sync settles before it is done') return this.#settle(inode)
    const epoch = this.#epoch
    this.#ticks(20).then(() => { if (epoch === this.#epoch) this.#settle(inode) }, () => {})
  }

  #settle (inode: Inode): void {
    for (const change of inode.dirty) apply(inode, change)
    inode.dirty = []
  }

  /** Applies a change by sectors, each with a probability. */
  #tear (inode: Inode, change: Change, share: number): void {
    if ('length' in change) {
      if (this.#random.chance(share)) apply(inode, change)
      return
    }
    for (let at = 0; at < change.bytes.length;) {
      const end = Math.min(change.bytes.length, (Math.floor((change.offset + at) / SECTOR_BYTES) + 1) * SECTOR_BYTES - change.offset)
      if (this.#random.chance(share)) apply(inode, { offset: change.offset + at, bytes: change.bytes.subarray(at, end) })
      at = end
    }
  }

  #change (change: (names: Names) => void): void {
    change(this.#cache)
    this.#changes.push(change)
  }

  #inode (path: string): Inode {
    const inode = this.#cache.get(path)
    if (inode === undefined) throw fault('ENOENT')
    return inode
  }

  #usedBytes (): number {
    return this.sizeOf(() => true)
  }

  /** Applies the effect in the same turn as the last check whether the process still lives. */
  async #step<Result> (epoch: number, kind: keyof Faults | 'none', effect: () => Result): Promise<Result> {
    await this.#ticks(this.#random.below(4))
    if (epoch !== this.#epoch) await new Promise(() => {})
    if (kind !== 'none' && this.#random.chance(this.faults[kind])) {
      throw fault(kind === 'other' ? this.#random.pick(['EIO', 'ENOSPC']) : 'EIO')
    }
    return effect()
  }

  async #ticks (count: number): Promise<void> {
    for (let tick = 0; tick < count; tick++) await Promise.resolve()
  }
}

function fault (code: string): Error {
  return Object.assign(new Error(`${code}: fake`), { code })
}

function resize (buffer: Buffer, length: number): Buffer {
  return length <= buffer.length ? Buffer.from(buffer.subarray(0, length)) : Buffer.concat([buffer, Buffer.alloc(length - buffer.length)])
}

function apply (inode: Inode, change: Change): void {
  if ('length' in change) {
    inode.stable = resize(inode.stable, Math.min(change.length, inode.stable.length))
    return
  }
  inode.stable = resize(inode.stable, Math.max(inode.stable.length, change.offset + change.bytes.length))
  change.bytes.copy(inode.stable, change.offset)
}
