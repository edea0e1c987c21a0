import type { FastifyRequest, FastifySchema, FastifySchemaCompiler } from 'fastify'
import Type, { type TObject } from 'typebox'
import { Compile } from 'typebox/compile'
import { type Fault, FAULTS_MAX, toFaults, toPointerToken } from '../../schemas/fault.ts'
import { HTTP_ERRORS, withDetails } from './errors.ts'

/**
 * Plain decimal digits. `Number` would also take `1e1`, `0x5`, `+5` (which a URL decodes to ` 5`) and the empty string.
 */
const WHOLE_NUMBER = /^(?:0|[1-9]\d{0,15})$/

/** A name of a query. */
export interface QueryProperty {
  readonly type?: string
  readonly default?: unknown
  /** Names that may not be given beside it. */
  readonly 'x-excludes'?: readonly string[]
}

interface RefusedQuery {
  readonly faults: readonly Fault[]
  /** Names without a fault, and defaults. */
  readonly rest: Readonly<Record<string, unknown>>
}

/**
 * Compiles a query's schema into a check that converts nothing but whole numbers, and names every fault at once.
 * Fastify's Ajv would convert `"88"` and `null` loosely, stop at the first fault and drop unknown names; the type
 * provider's compiler would turn `5.9` into 5.
 * @param schema - properties of type integer, string or array of strings, each with a default or optional
 * @returns the query with its defaults, or its faults and the rest of it, so that a route can check that too
 */
export function compileQuery (schema: TObject) {
  const compiled = Compile(Type.Object(schema.properties))
  const known = new Set<string>()
  const defaults: Record<string, unknown> = {}
  const integers = new Set<string>()
  const excluded = new Map<string, readonly string[]>()
  const lists = new Set<string>()
  for (const [name, property] of Object.entries(schema.properties)) {
    const { type, default: byDefault, 'x-excludes': excludes = [] } = property as QueryProperty
    known.add(name)
    if (byDefault !== undefined) defaults[name] = byDefault
    excluded.set(name, excludes)
    if (type === 'integer') integers.add(name)
    if (type === 'array') lists.add(name)
  }

  return (raw: Readonly<Record<string, unknown>>): { value: Record<string, unknown> } | RefusedQuery => {
    const value = { ...defaults }
    const faults: Fault[] = []
    for (const [name, given] of Object.entries(raw)) {
      const path = `/${toPointerToken(name)}`
      if (!known.has(name)) faults.push({ path, message: 'is not a known name' })
      else if (lists.has(name)) value[name] = [given].flat()
      else if (typeof given !== 'string') faults.push({ path, message: 'must be given once' })
      else if (excluded.get(name)?.some((other) => Object.hasOwn(raw, other)) === true) {
        faults.push({ path, message: `must not be given together with ${excluded.get(name)?.join(', ')}` })
      } else value[name] = integers.has(name) && WHOLE_NUMBER.test(given) ? Number(given) : given
    }
    if (!compiled.Check(value)) faults.push(...toFaults(compiled.Errors(value)))
    if (faults.length === 0) return { value }
    const atFault = new Set(faults.map(({ path }) => path.split('/')[1]))
    const rest = Object.fromEntries(Object.entries(value).filter(([name]) => !atFault.has(toPointerToken(name))))
    return { faults: faults.slice(0, FAULTS_MAX), rest: { ...defaults, ...rest } }
  }
}

/**
 * Fastify's validator compiler. Only queries are checked: a body goes to ingest as it came and is decoded there like an
 * MQTT payload, a device id is checked by its route. Their schemas are for the documentation.
 */
export const validatorCompiler: FastifySchemaCompiler<FastifySchema> = ({ schema, httpPart }) => {
  if (httpPart !== 'querystring') return () => true
  const check = compileQuery(schema as unknown as TObject)
  return (raw: Record<string, unknown>) => {
    const checked = check(raw)
    if ('value' in checked) return checked
    return { error: Object.assign(withDetails(new HTTP_ERRORS.InvalidQuery(), checked.faults), { rest: checked.rest }) }
  }
}

/**
 * The faults of a query that {@link validatorCompiler} refused at a route with `attachValidation`.
 * @returns `null` where it has none
 */
export function toRefusedQuery ({ validationError }: Pick<FastifyRequest, 'validationError'>): RefusedQuery | null {
  if (validationError === undefined) return null
  const { details, rest } = validationError as Error & { details?: readonly Fault[], rest?: RefusedQuery['rest'] }
  if (details === undefined || rest === undefined) throw validationError
  return { faults: details, rest }
}
