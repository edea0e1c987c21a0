import type { TLocalizedValidationError } from 'typebox/error'
import Type, { type Static } from 'typebox'
import { Settings } from 'typebox/system'

/** One fault of an input, worded for people. */
export const FaultSchema = Type.Object({
  path: Type.String({
    description: 'JSON Pointer (RFC 6901) to the value, "" for the whole ' +
    'input',
    examples: ['/0/heartRateValue']
  }),
  message: Type.String({ description: 'What was expected there' })
}, { additionalProperties: false })

export type Fault = Static<typeof FaultSchema>

/** Faults listed for one input; a hostile array could hold thousands. */
export const FAULTS_MAX = 100

// TypeBox stops at 8, and a reading alone can have ten known fields wrong.
Settings.Set({ maxErrors: FAULTS_MAX })

/** Escapes a key for use in a JSON Pointer (RFC 6901 §3). */
export function toPointerToken (key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** Pattern → what it demands, for a person. */
const RULES = new Map<string, string>()

/** A string of a pattern, whose fault tells `rule` instead of the pattern. */
export function patternWithRule (pattern: string, rule: string): { readonly pattern: string } {
  RULES.set(pattern, rule)
  return { pattern }
}

const ARTICLES: Readonly<Record<string, string>> = {
  number: 'a finite number',
  integer: 'a whole number',
  string: 'a string',
  object: 'a JSON object',
  array: 'an array',
  boolean: 'true or false'
}

/**
 * Turns TypeBox errors into faults: one per missing or unknown property, each with its own pointer.
 * @param errors - of a compiled TypeBox validator
 * @param base - pointer of the value that was checked, when it is part of a larger input
 */
export function toFaults (errors: readonly TLocalizedValidationError[], base = ''): Fault[] {
  const faults: Fault[] = []
  for (const error of errors) {
    const at = base + error.instancePath
    switch (error.keyword) {
      case 'boolean': // said again, and better, by additionalProperties
        break
      case 'required':
        for (const name of error.params.requiredProperties) {
          faults.push({ path: `${at}/${toPointerToken(name)}`, message: 'is required' })
        }
        break
      case 'additionalProperties':
        for (const name of error.params.additionalProperties) {
          faults.push({ path: `${at}/${toPointerToken(name)}`, message: 'is not a known name' })
        }
        break
      case 'type': {
        const types = Array.isArray(error.params.type) ? error.params.type : [error.params.type]
        faults.push({ path: at, message: `must be ${types.map((type) => ARTICLES[type] ?? type).join(' or ')}` })
        break
      }
      case 'enum':
        faults.push({ path: at, message: `must be one of ${error.params.allowedValues.join(', ')}` })
        break
      case 'pattern':
        faults.push({ path: at, message: RULES.get(String(error.params.pattern)) ?? error.message })
        break
      default:
        faults.push({ path: at, message: error.message })
    }
  }
  return faults
}
