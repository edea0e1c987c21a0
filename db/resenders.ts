import type { ReadingRow } from './rows.ts'

/** Whoever has resent nothing for so long is trusted again. */
const RESENT_MS = 10_000
/** Batches that a device may fail. After a lost connection, or a COMMIT without an answer, what is resent spoils one or two, and of thousands of devices. */
const BATCHES_MAX = 2
/** More are not remembered; their batches go in twice. */
const DEVICES_MAX = 10_000

/**
 * Devices that keep sending what is stored already. One such reading fails COPY and with it the whole batch, which then goes in again, for twice the
 * time; a device that never stops resending would do that to every batch, and to everybody's acknowledgements. So the readings of these devices
 * are inserted apart, at twice the cost of COPY, where a duplicate does no harm.
 */
export class Resenders {
  /** The device that resent longest ago is the first. */
  readonly #resent = new Map<string, { readonly batches: number, readonly untilMs: number }>()
  readonly #nowMs: () => number

  constructor (nowMs = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** @param devices - that had duplicates in one batch */
  note (devices: Iterable<string>): void {
    const untilMs = this.#nowMs() + RESENT_MS
    for (const device of devices) {
      const batches = (this.#resent.get(device)?.batches ?? 0) + 1
      this.#resent.delete(device)
      if (this.#resent.size < DEVICES_MAX) this.#resent.set(device, { batches, untilMs })
    }
  }

  /** @returns the readings of others and those of resenders, each in the order of `readings` */
  split (readings: readonly ReadingRow[]): { readonly others: readonly ReadingRow[], readonly resent: readonly ReadingRow[] } {
    this.#forget()
    if (this.#resent.size === 0) return { others: readings, resent: [] }
    const others: ReadingRow[] = []
    const resent: ReadingRow[] = []
    for (const reading of readings) ((this.#resent.get(reading.device)?.batches ?? 0) > BATCHES_MAX ? resent : others).push(reading)
    return { others, resent }
  }

  #forget (): void {
    const nowMs = this.#nowMs()
    for (const [device, { untilMs }] of this.#resent) {
      if (untilMs > nowMs) return
      this.#resent.delete(device)
    }
  }
}
