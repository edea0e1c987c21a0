/** The devices whose events a listener gets. */
export type EventFilter =
  | { readonly kind: 'all' }
  | { readonly kind: 'devices', readonly devices: ReadonlySet<string> }
  | { readonly kind: 'prefix', readonly prefix: string }

export function matchesFilter (filter: EventFilter, device: string): boolean {
  switch (filter.kind) {
    case 'all': return true
    case 'devices': return filter.devices.has(device)
    case 'prefix': return device.startsWith(filter.prefix)
  }
}

/**
 * Listeners by their filters, so that an event costs a look-up by its device, and one for each length that a prefix
 * has, however many listeners there are. Listeners without a filter are kept apart: they get every event.
 */
export class FilterIndex<T> {
  readonly #all = new Set<T>()
  readonly #byDevice = new Map<string, Set<T>>()
  readonly #byPrefix = new Map<number, Map<string, Set<T>>>()

  /** Those that get every event. */
  get all (): ReadonlySet<T> {
    return this.#all
  }

  add (filter: EventFilter, listener: T): void {
    switch (filter.kind) {
      case 'all':
        this.#all.add(listener)
        break
      case 'devices':
        for (const device of filter.devices) addTo(this.#byDevice, device, listener)
        break
      case 'prefix': {
        const { length } = filter.prefix
        let ofLength = this.#byPrefix.get(length)
        if (ofLength === undefined) this.#byPrefix.set(length, ofLength = new Map())
        addTo(ofLength, filter.prefix, listener)
      }
    }
  }

  remove (filter: EventFilter, listener: T): void {
    switch (filter.kind) {
      case 'all':
        this.#all.delete(listener)
        break
      case 'devices':
        for (const device of filter.devices) removeFrom(this.#byDevice, device, listener)
        break
      case 'prefix': {
        const { length } = filter.prefix
        const ofLength = this.#byPrefix.get(length)
        if (ofLength === undefined) return
        removeFrom(ofLength, filter.prefix, listener)
        if (ofLength.size === 0) this.#byPrefix.delete(length)
      }
    }
  }

  /** Calls `visit` for each listener that names the device or a prefix of it; not for {@link FilterIndex.all}. */
  visit (device: string, visit: (listener: T) => void): void {
    this.#byDevice.get(device)?.forEach(visit)
    for (const [length, byPrefix] of this.#byPrefix) {
      if (length <= device.length) byPrefix.get(device.slice(0, length))?.forEach(visit)
    }
  }
}

function addTo<T> (byName: Map<string, Set<T>>, name: string, listener: T): void {
  const listeners = byName.get(name)
  if (listeners === undefined) byName.set(name, new Set([listener]))
  else listeners.add(listener)
}

function removeFrom<T> (byName: Map<string, Set<T>>, name: string, listener: T): void {
  const listeners = byName.get(name)
  if (listeners === undefined) return
  listeners.delete(listener)
  if (listeners.size === 0) byName.delete(name)
}
