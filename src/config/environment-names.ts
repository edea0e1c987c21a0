import { EnvironmentSchema } from '../../schemas/environment.ts'
import { ConfigError } from './config-error.ts'

type Variables = Readonly<Record<string, string | undefined>>

const KNOWN = Object.keys(EnvironmentSchema.properties)
const toLetters = (name: string): string => name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '')
const KNOWN_LETTERS = new Map(KNOWN.map((name) => [toLetters(name), name]))

/** Edits that a typing error takes; two exchanged letters count as two. */
const EDITS_MAX = 2

/** Set by hosting services and other programs; without DATABASE_URL, one of these was most likely meant for it. */
const SYNONYMS = ['POSTGRES_URL', 'POSTGRESQL_URL', 'POSTGRES_URI', 'PG_URL', 'DB_URL', 'DATABASE_DSN']

/**
 * Kubernetes tells every container of a namespace about its services: a service named `vital-gateway` becomes
 * VITAL_GATEWAY_PORT and six more. @see Kubernetes, "Accessing the Service": "Environment Variables"
 */
function isServiceLink (name: string, value: string): boolean {
  if (/^VITAL(?:_\w+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/.test(name)) {
    return true
  }
  return /^VITAL(?:_\w+)?_PORT$/.test(name) && isLinkValue(value)
}

const isLinkValue = (value: string): boolean => /^(?:tcp|udp|sctp):\/\//.test(value)

const looksLikePostgres = (value: string): boolean => /^postgres(?:ql)?:\/\/|^\s*\w+\s*=/i.test(value)

/**
 * The variables of an environment that belong to the gateway. An unknown `VITAL_*` name stays in it, for the schema to
 * refuse.
 * @returns `notices` are logged once, at start
 * @throws {@link ConfigError} for a near miss of a known name, which would otherwise have no effect
 */
export function selectVariables (variables: Variables): { variables: Variables, notices: readonly string[] } {
  const own: Record<string, string> = {}
  const links: string[] = []
  const misses: string[] = []
  const synonyms: string[] = []
  for (const [name, value] of Object.entries(variables)) {
    // An empty one counts as unset, because compose files pass unset variables so.
    if (value === undefined || value === '') continue
    if (KNOWN.includes(name)) {
      if (isLinkValue(value) && name.endsWith('_PORT')) misses.push(explainLink(name, value))
      else own[name] = value
    } else if (isServiceLink(name, value)) links.push(name)
    else {
      const meant = toNearest(name)
      if (meant !== undefined &&
        (meant !== 'DATABASE_URL' ||
          isMissed(variables, value))) misses.push(`${name} is not a known name; did you mean ${meant}?`)
      else if (name.startsWith('VITAL_')) own[name] = value
      else if (SYNONYMS.includes(name) && isMissed(variables, value)) synonyms.push(name)
    }
  }
  if (misses.length > 0) {
    throw new ConfigError(`The environment is not valid:\n${misses.map((miss) => `  ${miss}`).join('\n')}\nSee ` +
      '.env.example for every variable.')
  }
  return { variables: own, notices: [...toLinkNotice(links), ...toSynonymNotice(synonyms)] }
}

/** Whether DATABASE_URL is unset and this value would do for it. */
const isMissed = ({ DATABASE_URL: url }: Variables, value: string): boolean => (url === undefined || url === '') &&
  looksLikePostgres(value)

function explainLink (name: string, value: string): string {
  const service = name.replace(/_PORT$/, '').toLowerCase().replaceAll('_', '-')
  return `${name}=${value} was set by Kubernetes, because a service is called ${service}. Set ${name} to a number in ` +
    'the container\'s env, call the service something else, or put enableServiceLinks: false into the pod\'s spec'
}

function toLinkNotice (names: readonly string[]): string[] {
  if (names.length === 0) return []
  const rest = names.length === 1
    ? 'was set by Kubernetes for a service and is'
    : `and ${names.length - 1} more were set by Kubernetes for services and are`
  return [`${names[0]} ${rest} ignored; enableServiceLinks: false in the pod's spec leaves them out`]
}

function toSynonymNotice (names: readonly string[]): string[] {
  return names.length === 0
    ? []
    : [`${names.join(', ')} is not read: the gateway uses an embedded PostgreSQL unless DATABASE_URL is set`]
}

function toNearest (name: string): string | undefined {
  const letters = toLetters(name)
  const same = KNOWN_LETTERS.get(letters)
  if (same !== undefined) return same
  const near = [...KNOWN_LETTERS].filter(([other]) => countEdits(letters, other) <= EDITS_MAX)
  if (near.length > 0) return near.sort(([a], [b]) => countEdits(letters, a) - countEdits(letters, b))[0]?.[1]
  // VITAL_DATABASE_URL
  return letters.startsWith('VITAL') && letters.slice('VITAL'.length) === 'DATABASEURL' ? 'DATABASE_URL' : undefined
}

/** Levenshtein's distance; `Infinity` where the lengths alone tell that it exceeds {@link EDITS_MAX}. */
function countEdits (a: string, b: string): number {
  if (Math.abs(a.length - b.length) > EDITS_MAX) return Infinity
  let above = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let row = 1; row <= a.length; row++) {
    const line = [row]
    for (let column = 1; column <= b.length; column++) {
      const cost = a[row - 1] === b[column - 1] ? 0 : 1
      line.push(Math.min(above[column]! + 1, line[column - 1]! + 1, above[column - 1]! + cost))
    }
    above = line
  }
  return above[b.length]!
}
