import type { Load } from '../harness/devices/messages.ts'
import type { Rig } from './rig/rig.ts'

/** Size of a fault when it runs alone, and in `--fault all`. */
export interface Extent {
  readonly alone: number
  readonly inAll: number
}

/** One way to hurt a gateway. */
export interface Fault {
  /** Kebab-case, as on the command line. */
  readonly name: string
  /** What is done, and what must hold, in one line. */
  readonly summary: string
  /** Where the readings go: the gateway's embedded PostgreSQL, or one that the harness starts and stops. */
  readonly database: 'embedded' | 'own'
  /** A PostgreSQL of this fault alone, on a file system in memory of that size. */
  readonly clusterBytesMax?: number
  /** Repetitions; without them, the fault comes once and lasts `seconds`. */
  readonly cycles?: Extent
  readonly seconds?: Extent
  /** @returns what is missing here and how to get it, or `null` */
  readonly obstacle?: () => string | null
  readonly load?: Partial<Load>
  /** Readers of pages beside the devices, unless `--readers` is given; default {@link READERS}. */
  readonly readers?: number
  /** Strikes, and leaves a running gateway. The rig checks what must hold for every fault. */
  readonly run: (rig: Rig) => Promise<void>
}

/** Readers beside the devices, for a fault without a number of its own. */
export const READERS = 2
