/**
 * Caps on dead letters, so that one broken or hostile device can fill neither the disk nor the operators' list.
 *
 * The counts are kept here, loaded from the table at start and again every minute: a count in SQL for each batch would
 * cost a scan of the table. Two gateways on one database can overshoot a cap by what they admit within that minute.
 */
export interface DeadLetterCounts {
  readonly device: string | null
  readonly letters: number
  readonly bytes: number
}

export interface DeadLetterLimits {
  readonly deadLettersPerDeviceMax: number
  readonly deadLettersMax: number
  readonly deadLetterBytesMax: number
}

/** How full the caps are, for the metrics. */
export interface DeadLetterUsage extends DeadLetterLimits {
  readonly letters: number
  readonly bytes: number
  /** Devices that have reached their cap; letters of unknown devices count as one device. */
  readonly devicesAtCap: number
}

const WAY_OUT = 'look at them (vital-gateway dead-letters), discard them, or raise VITAL_DEAD_LETTERS_MAX or ' +
  'VITAL_DEAD_LETTERS_PER_DEVICE_MAX'
const TOO_LARGE = 'an input is larger than the room that is left for dead letters, and is not kept'

export class DeadLetterCaps {
  readonly #limits: DeadLetterLimits
  #perDevice = new Map<string | null, number>()
  #letters = 0
  #bytes = 0

  /** An input was not kept since the caps last had room. */
  #isFull = false
  readonly #onFull: (warning: string) => void

  /** @param onFull - called for the first input that is not kept since there was room */
  constructor (limits: DeadLetterLimits, onFull: (warning: string) => void = () => {}) {
    this.#limits = limits
    this.#onFull = onFull
  }

  /** Caps that are reached, as warnings for the operator. */
  warnings (): string[] {
    const { letters, bytes, devicesAtCap, deadLettersMax, deadLetterBytesMax } = this.usage
    if (letters >= deadLettersMax || bytes >= deadLetterBytesMax) {
      return [`the dead letters are full, so refused inputs are acknowledged and not kept: ${WAY_OUT}`]
    }
    return devicesAtCap === 0
      ? []
      : [`of ${devicesAtCap} ${devicesAtCap === 1 ? 'device' : 'devices'} no more dead letters are kept: ${WAY_OUT}`]
  }

  get usage (): DeadLetterUsage {
    const { deadLettersPerDeviceMax, deadLettersMax, deadLetterBytesMax } = this.#limits
    let devicesAtCap = 0
    for (const letters of this.#perDevice.values()) {
      if (letters >= deadLettersPerDeviceMax) devicesAtCap++
    }
    const [letters, bytes] = [this.#letters, this.#bytes]
    return { deadLettersPerDeviceMax, deadLettersMax, deadLetterBytesMax, letters, bytes, devicesAtCap }
  }

  /** Replaces the counts by those of the table. */
  load (counts: readonly DeadLetterCounts[]): void {
    this.#perDevice = new Map(counts.map(({ device, letters }) => [device, letters]))
    this.#letters = counts.reduce((sum, { letters }) => sum + letters, 0)
    this.#bytes = counts.reduce((sum, { bytes }) => sum + bytes, 0)
    if (this.warnings().length === 0) this.#isFull = false
  }

  /** Whether one more letter may be kept; counts it if so. */
  admit (device: string | null, bytes: number): boolean {
    const ofDevice = this.#perDevice.get(device) ?? 0
    const { deadLettersPerDeviceMax, deadLettersMax, deadLetterBytesMax } = this.#limits
    if (ofDevice >= deadLettersPerDeviceMax || this.#letters >= deadLettersMax ||
      this.#bytes + bytes > deadLetterBytesMax) {
      if (!this.#isFull) this.#onFull(this.warnings()[0] ?? TOO_LARGE)
      this.#isFull = true
      return false
    }
    this.#perDevice.set(device, ofDevice + 1)
    this.#letters += 1
    this.#bytes += bytes
    return true
  }
}
