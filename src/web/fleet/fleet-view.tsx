import { useEffect, useRef, useState } from 'preact/hooks'
import { gatewayNowMs } from '../connection/api.ts'
import { fleet, state, useChanges, useInView } from '../store.ts'
import { VITAL_SIGNS } from '../vital-signs.ts'
import { COLUMNS, type Filter, keepPlaces, order, type Sort } from './fleet-order.ts'
import type { Device } from './fleet-store.ts'
import { FleetRow } from './fleet-row.tsx'
import { Playing } from './playing.tsx'
import { fillSparks } from './spark-history.ts'

const ROW_PX = 40
const OVERSCAN = 6
/** Sorting 10,000 devices takes some milliseconds, so not in each frame. */
const ORDER_INTERVAL_MS = 1000

const unitOf = (id: string): string => VITAL_SIGNS.find((sign) => sign.id === id)?.unit ?? ''

export function FleetView () {
  useChanges()
  const [sort, setSort] = useState<Sort>({ by: 'device', isDescending: false })
  const [filter, setFilter] = useState<Filter>('all')
  const [search, setSearch] = useState('')
  const scroller = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ top: 0, height: 800 })
  const held = useRef(false)
  const kept = useRef<{ key: string, atMs: number, result: ReturnType<typeof order> } | null>(null)

  useEffect(() => {
    const element = scroller.current!
    const measure = () => { setView({ top: element.scrollTop, height: element.clientHeight }) }
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    element.addEventListener('scroll', measure, { passive: true })
    return () => { observer.disconnect() }
  }, [])

  const nowS = gatewayNowMs() / 1000
  const key = `${sort.by} ${sort.isDescending} ${filter} ${search}`
  const age = performance.now() - (kept.current?.atMs ?? -Infinity)
  if (kept.current?.key !== key || age > ORDER_INTERVAL_MS) {
    const result = order(fleet, { sort, filter, search, nowS })
    // While the pointer or the focus is in the table, the rows keep their places, so that a click opens the right one.
    if (held.current && kept.current?.key === key) result.shown = keepPlaces(kept.current.result.shown, result.shown)
    kept.current = { key, atMs: performance.now(), result }
  }
  const { shown, counts } = kept.current.result
  const first = Math.max(0, Math.floor(view.top / ROW_PX) - OVERSCAN)
  const last = Math.min(shown.length, Math.ceil((view.top + view.height) / ROW_PX) + OVERSCAN)
  useEffect(() => { fillSparks(shown.slice(first, last)) })
  useInView(shown.slice(first, last).map(({ id }) => id))
  const direction = sort.isDescending ? 'descending' : 'ascending'
  const toggle = (by: Sort['by']) => { setSort({ by, isDescending: sort.by === by ? !sort.isDescending : false }) }
  return (
    <>
      <h2 class='unseen'>Fleet</h2>
      <Playing />
      <Tools {...{ filter, setFilter, search, setSearch, counts }} />
      <div
        class='table' ref={scroller} onPointerEnter={() => { held.current = true }}
        onPointerLeave={() => { held.current = false }} onFocusIn={() => { held.current = true }}
        onFocusOut={() => { held.current = false }}
      >
        <table aria-rowcount={shown.length + 1} aria-label='Devices'>
          <thead>
            <tr>
              {COLUMNS.map(({ id, label, isSortable }) => (
                <th key={id} scope='col' class={id} aria-sort={sort.by === id ? direction : undefined}>
                  {isSortable
                    ? <button type='button' onClick={() => { toggle(id as Sort['by']) }}>{label}<small>{unitOf(id)}</small></button>
                    : <span>{label}<small>{unitOf(id)}</small></span>}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <Space rows={first} />
            {shown.slice(first, last).map((device: Device, index) => (
              <FleetRow key={device.id} device={device} nowS={nowS} place={first + index + 2} />
            ))}
            <Space rows={shown.length - last} />
          </tbody>
        </table>
        {shown.length === 0 && <p class='muted none'>{state.isListed ? 'No device matches.' : 'Reading the devices …'}</p>}
      </div>
    </>
  )
}

/** Takes the place of rows that are not in view. One cell: a colspan over hidden columns would narrow the others. */
function Space ({ rows }: { rows: number }) {
  if (rows <= 0) return null
  return <tr class='space' aria-hidden='true'><td style={{ height: `${rows * ROW_PX}px` }} /></tr>
}

interface ToolsProps {
  readonly filter: Filter
  readonly setFilter: (filter: Filter) => void
  readonly search: string
  readonly setSearch: (search: string) => void
  readonly counts: Readonly<Record<Filter, number>>
}

function Tools ({ filter, setFilter, search, setSearch, counts }: ToolsProps) {
  const filters: ReadonlyArray<readonly [Filter, string]> = [
    ['all', 'All'], ['silent', 'Silent'], ['refused', 'Refused'], ...(fleet.hasLimits ? [['out', 'Out of range'] as const] : [])
  ]
  return (
    <div class='tools'>
      <input
        type='search' aria-label='Search devices' placeholder='Search devices' value={search}
        onInput={(event) => { setSearch(event.currentTarget.value) }}
      />
      <div class='filters' role='group' aria-label='Show'>
        {filters.map(([id, label]) => (
          <button key={id} type='button' aria-pressed={filter === id} onClick={() => { setFilter(id) }}>
            {label} <b>{counts[id].toLocaleString('en')}</b>
          </button>
        ))}
      </div>
    </div>
  )
}
