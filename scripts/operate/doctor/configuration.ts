import { type Config, createConfig } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

type Variables = Record<string, string | undefined>

/**
 * Every fault of the environment at once. A gateway stops at the first kind of fault (names, then values, then variables that
 * need each other); here a faulty variable is left out and the rest is checked again.
 * @returns `config` is `null` where something is wrong
 */
export function checkConfiguration (readVariables: () => Readonly<Variables>): { config: Config | null, findings: Finding[] } {
  const check = 'configuration'
  const findings: Finding[] = []
  let variables: Variables
  try {
    variables = { ...readVariables() }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { config: null, findings: [fail(check, error.message)] }
  }
  for (;;) {
    try {
      const config = createConfig(variables)
      if (findings.length > 0) return { config: null, findings }
      const count = Object.entries(variables).filter(([name, value]) => isOurs(name) && value !== undefined && value !== '').length
      const told = [...config.warnings, ...config.notices].map((text) => warn(check, text))
      return { config, findings: [ok(check, `valid; ${count} ${count === 1 ? 'variable is' : 'variables are'} set`), ...told] }
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      const faults = toFaults(error.message)
      findings.push(...faults.map((text) => fail(check, text)))
      const named = faults.flatMap((text) => findVariable(text, variables) ?? [])
      if (named.length === 0) return { config: null, findings }
      for (const name of named) variables[name] = undefined
    }
  }
}

const isOurs = (name: string): boolean => name.startsWith('VITAL_') || name === 'DATABASE_URL' || name === 'REDIS_URL'

/** The list in a message that has one, else the message. */
function toFaults (message: string): string[] {
  const list = message.split('\n').filter((line) => line.startsWith('  ')).map((line) => line.trim())
  return list.length > 0 ? list : [message]
}

/** The first variable that a message names and that is set. */
function findVariable (message: string, variables: Variables): string | undefined {
  return message.match(/\w+/g)?.find((word) => (variables[word] ?? '') !== '')
}
