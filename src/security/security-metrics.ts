import type { LoginRefusalCounts } from '../../broker/connect/login-refusals.ts'
import type { Metrics } from '../metrics/metrics.ts'
import type { Login } from './authenticator.ts'

/** How often one login outcome came, by transport. */
export type LoginCounts = Readonly<Record<Login['transport'], Readonly<Record<Login['outcome'], number>>>>

/** Counters of authentication. */
export interface SecurityStatistics {
  readonly logins: LoginCounts
  readonly refusals: LoginRefusalCounts
  /** The gateway is open: no credential is needed. */
  readonly isOpen: boolean
  readonly principalsKnown: number
  readonly passwordsWaiting: number
  /** Since the keys of the tokens' issuer were read; 0 without an issuer. */
  readonly keysAgeS: number
}

export function addSecurityMetrics (metrics: Metrics, read: () => SecurityStatistics): void {
  metrics.counters('vital_logins_total',
    'Credentials checked: MQTT connections and HTTP requests; none while anonymous access is allowed',
    ['transport', 'outcome'],
    () => flatten(read().logins).map(([transport, outcome, count]) => [{ transport, outcome }, count]))
  metrics.counters('vital_logins_refused_total',
    'MQTT connections and HTTP requests refused for their credentials, by reason; src/security/README.md has the reasons',
    ['transport', 'reason'],
    () => flatten(read().refusals).map(([transport, reason, count]) => [{ transport, reason }, count]))
  metrics.gauge('vital_anonymous_allowed', '1 while no credentials exist and every client may do everything',
    () => read().isOpen ? 1 : 0)
  metrics.gauge('vital_principals_known', 'Principals in memory, which are authenticated while PostgreSQL is away',
    () => read().principalsKnown)
  metrics.gauge('vital_passwords_waiting', 'Passwords that wait for their turn to be checked',
    () => read().passwordsWaiting)
  metrics.gauge('vital_jwt_keys_age_seconds',
    'Since the keys of the tokens\' issuer were read; beyond an hour no token can be checked', () => read().keysAgeS)
}

type Counts = Readonly<Record<string, Readonly<Record<string, number>>>>

function flatten (counts: Counts): Array<[transport: string, name: string, count: number]> {
  return Object.entries(counts).flatMap(([transport, named]) =>
    Object.entries(named).map(([name, count]): [string, string, number] => [transport, name, count]))
}
