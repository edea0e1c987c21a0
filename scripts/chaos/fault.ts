import type { Load } from './messages.ts'
import type { Rig } from './rig.ts'

/** How much of a fault there is when it runs by itself, and in `--fault all`. */
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
  /** How often it comes; without, it comes once, and `seconds` says how long it lasts. */
  readonly cycles?: Extent
  readonly seconds?: Extent
  /** @returns what is missing here and how to get it, or `null` */
  readonly obstacle?: () => string | null
  readonly load?: Partial<Load>
  /** Readers of pages beside the devices, unless `--readers` says how many; default {@link READERS}. */
  readonly readers?: number
  /** Hurts, and leaves a running gateway behind; what holds for every fault is checked by the rig. */
  readonly run: (rig: Rig) => Promise<void>
}

/** With its other fields such a reading stays below `VITAL_PACKET_BYTES_MAX`. */
const WAVEFORM_BYTES_MAX = 250_000

/** Readers beside the devices of a fault that says nothing else. */
export const READERS = 2

export const DEFAULT_LOAD: Load = {
  devices: 40,
  httpDevices: 4,
  ratePerS: 1000,
  window: 40,
  keepaliveS: 10,
  backlog: 0,
  invalidShare: 0.01,
  poisonShare: 0,
  qos2Every: 8,
  arrayReadings: 0,
  blobBytes: 0,
  waveformBytesMax: WAVEFORM_BYTES_MAX,
  waveformShare: 0.001,
  isIdentified: false
}
