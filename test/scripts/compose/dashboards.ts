/** The dashboards that compose mounts, and the queries as Grafana sends them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../helpers/program.ts'

export interface Target { readonly expr?: string, readonly rawSql?: string, readonly datasource: { readonly uid: string } }

export interface Panel {
  readonly id: number
  readonly title: string
  readonly type: string
  readonly gridPos: { readonly x: number, readonly y: number, readonly w: number, readonly h: number }
  readonly targets?: readonly Target[]
}

export interface Dashboard {
  readonly uid: string
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: ReadonlyArray<{ readonly query: string, readonly datasource: { readonly uid: string } }> }
}

const read = (name: string) => JSON.parse(readFileSync(join(ROOT, 'scripts/compose/grafana', name), 'utf8')) as Dashboard

export const gateway = read('dashboards/vital-gateway.json')
export const patient = read('dashboards/vital-patient.json')
/** Dashboards of the profile `several`. */
export const several = read('several/vital-several.json')
/** Dashboards of the profile `scale`. */
export const log = read('scale/vital-log.json')
/** Further dashboards of the profile `scale`: lake, export and bridge. */
export const streams = read('scale/vital-streams.json')

/** The queries of a kind, each with the title of its panel. */
export function queriesOf (kind: 'expr' | 'rawSql', { panels }: Dashboard): Array<{ readonly title: string, readonly query: string }> {
  return panels.flatMap(({ title, targets = [] }) => targets.flatMap((target) => {
    const query = target[kind]
    return query === undefined ? [] : [{ title, query }]
  }))
}

interface PanelState {
  readonly device?: string
  /** The text in the field of the device. */
  readonly search?: string
  /** Unix milliseconds. */
  readonly fromMs?: number
  readonly toMs?: number
  readonly intervalMs?: number
}

/** SQL as Grafana's PostgreSQL data source sends it: variables are replaced in the browser, then macros in its server. */
export function expandSql (sql: string, state: PanelState = {}): string {
  const { device = '', search = '', toMs = Date.now() + 60_000, fromMs = toMs - 3_600_000, intervalMs = 60_000 } = state
  const double = (text: string) => text.replaceAll("'", "''")
  const iso = (ms: number) => `'${new Date(ms).toISOString()}'`
  return sql
    .replaceAll('$' + '{device:sqlstring}', () => `'${double(device)}'`)
    .replaceAll('$__searchFilter', () => double(`${search}%`))
    .replaceAll('$__interval_ms', String(intervalMs))
    .replaceAll('$__interval', `${intervalMs}ms`)
    .replaceAll(/\$__timeGroupAlias\((\w+), \d+ms\)/g, `floor(extract(epoch from $1)/${intervalMs / 1000})*${intervalMs / 1000} AS "time"`)
    .replaceAll(/\$__timeFilter\((\w+)\)/g, `$1 BETWEEN ${iso(fromMs)} AND ${iso(toMs)}`)
}
