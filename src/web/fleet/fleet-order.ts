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

/** The devices to show, in their order, and how many each filter would show. */
export function order (
  fleet: Fleet,
  { sort, filter, search, nowS }: { readonly sort: Sort, readonly filter: Filter, readonly search: string, readonly nowS: number }
): { shown: Device[], counts: Record<Filter, number> } {
  const counts = { all: 0, silent: 0, refused: 0, out: 0 }
  const wanted = search.trim().toLowerCase()
  const shown: Array<{ device: Device, key: number | string }> = []
  for (const device of fleet.devices.values()) {
    if (wanted !== '' && !device.id.toLowerCase().includes(wanted)) continue
    const state = fleet.stateOf(device, nowS)
    counts.all++
    if (state !== 'normal') counts[state]++
    if (filter === 'all' || filter === state) shown.push({ device, key: toKey(device, sort.by, state) })
  }
  const sign = sort.isDescending ? -1 : 1
  shown.sort((a, b) => {
    // Without the value: last, in both directions.
    if (a.key !== b.key && (a.key === Infinity || b.key === Infinity)) return a.key === Infinity ? 1 : -1
    return sign * compare(a.key, b.key) || compare(a.device.id, b.device.id)
  })
  return { shown: shown.map(({ device }) => device), counts }
}

const compare = (a: number | string, b: number | string): number => a < b ? -1 : a > b ? 1 : 0

function toKey (device: Device, by: Sort['by'], state: DeviceState): number | string {
  if (by === 'device') return device.id
  if (by === 'state') return URGENCY[state]
  if (by === 'age') return -device.timestampS
  const field = VITAL_SIGNS.find(({ id }) => id === by)!.fields.find((name) => typeof device.vitals[name] === 'number')
  return field === undefined ? Infinity : device.vitals[field] as number
}
