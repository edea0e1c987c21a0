import { Random } from '../../harness/random.ts'

/** Every random choice of one session; all follow from its seed. */
export class SessionRandom extends Random {
  /** Small numbers often, large ones seldom: 0 to max. */
  few (max: number): number {
    return Math.floor(this.next() ** 3 * (max + 1))
  }

  /** Cuts bytes at random places, so that the gateway gets each piece in a read of its own. */
  cut (bytes: Buffer, cutsMax: number): Buffer[] {
    const places = Array.from({ length: this.below(cutsMax + 1) }, () => this.below(bytes.length)).sort((a, b) => a - b)
    return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length))
  }
}

/** A seed of its own for each session, so that one can be played again without those before it. */
export function sessionSeed (seed: number, index: number): number {
  return (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca77)) | 0
}
