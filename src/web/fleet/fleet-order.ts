import { VITAL_SIGNS } from '../vital-signs.ts'
import type { Device, DeviceState, Fleet } from './fleet-store.ts'

export type Filter = 'all' | 'silent' | 'refused' | 'out'

export interface Sort {
  readonly by: 'state' | 'device' | 'hr' | 'spo2' | 'resp' | 'temp' | 'bp' | 'age'
  readonly isDescending: boolean
}

export const COLUMNS = [
  { id: 'device', label: 'Device', isSortable: true },
  { id: 'state', label: 'State', isSortable: true },
  { id: 'hr', label: 'HR', isSortable: true },
  { id: 'spo2', label: 'SpO₂', isSortable: true },
  { id: 'resp', label: 'RESP', isSortable: true },
  { id: 'bp', label: 'BP', isSortable: true },
  { id: 'temp', label: 'TEMP', isSortable: true },
  { id: 'spark', label: 'HR, last 5 min', isSortable: false },
  { id: 'age', label: 'Age', isSortable: true }
] as const

/** The most urgent first. */
const URGENCY: Readonly<Record<DeviceState, number>> = { refused: 0, out: 1, silent: 2, normal: 3 }

/** The devices sorted by id, and the version of the fleet that was sorted: ids do not change, so this is kept. */
let byId: { readonly version: number, readonly devices: readonly Device[] } = { version: -1, devices: [] }

function sortedById (fleet: Fleet): readonly Device[] {
  if (byId.version !== fleet.version) {
    const devices = [...fleet.devices.values()].sort((a, b) => a.id < b.id ? -1 : 1)
    byId = { version: fleet.version, devices }
  }
  return byId.devices
}

/**
 * The devices to show, in their order, and how many each filter would show. The sort is stable and begins with the order
 * of the ids, so it compares numbers alone: with 10,000 devices it takes 5 ms instead of up to 60.
 */
export function order (
  fleet: Fleet,
  { sort, filter, search, nowS }: { readonly sort: Sort, readonly filter: Filter, readonly search: string, readonly nowS: number }
): { shown: Device[], counts: Record<Filter, number> } {
  const counts = { all: 0, silent: 0, refused: 0, out: 0 }
  const wanted = search.trim().toLowerCase()
  const toKey = createKey(sort)
  const found: Device[] = []
  const keys: number[] = []
  for (const device of sortedById(fleet)) {
    if (wanted !== '' && !device.id.toLowerCase().includes(wanted)) continue
    const state = fleet.stateOf(device, nowS)
    counts.all++
    if (state !== 'normal') counts[state]++
    if (filter !== 'all' && filter !== state) continue
    keys.push(toKey(device, state))
    found.push(device)
  }
  if (sort.by === 'device') return { shown: sort.isDescending ? found.reverse() : found, counts }
  // Infinity less itself is NaN, which is falsy, so two devices without the value count as equal.
  const places = Uint32Array.from(keys.keys()).sort((a, b) => keys[a]! - keys[b]! || a - b)
  return { shown: Array.from(places, (place) => found[place]!), counts }
}

/** Rows that are shown stay in their places even if they no longer match; further ones come behind. */
export function keepPlaces (shown: readonly Device[], found: readonly Device[]): Device[] {
  const kept = new Set(shown)
  return [...shown, ...found.filter((device) => !kept.has(device))]
}

/** The sort key of a column, as a number. */
function createKey ({ by, isDescending }: Sort): (device: Device, state: DeviceState) => number {
  const sign = isDescending ? -1 : 1
  if (by === 'state') return (_device, state) => sign * URGENCY[state]
  if (by === 'age') return ({ timestampS }) => -sign * timestampS
  const fields = VITAL_SIGNS.find(({ id }) => id === by)?.fields ?? []
  return ({ vitals }) => {
    for (const field of fields) {
      const value = vitals[field]
      if (typeof value === 'number') return sign * value
    }
    // Without the value: last, in both directions.
    return Infinity
  }
}
