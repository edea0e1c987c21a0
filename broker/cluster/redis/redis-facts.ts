import type { RedisLink } from './redis-link.ts'

/** What Redis reports of itself; `null`: this user may not read it. */
export interface RedisFacts {
  /** Another one after each restart. */
  readonly runId: string | null
  readonly uptimeMs: number
  readonly version: string | null
  readonly evictionPolicy: string | null
}

/** XADD with NOMKSTREAM, and XTRIM with MINID. */
const VERSION_MIN = [6, 2]

/** @throws when Redis does not answer */
export async function readFacts (link: Pick<RedisLink, 'pipeline'>): Promise<RedisFacts> {
  const sections = await link.pipeline([['INFO', 'server'], ['INFO', 'memory']])
  const text = sections.map((section) => section instanceof Error ? '' : String(section)).join('\n')
  const valueOf = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(text)?.[1] ?? null
  return {
    runId: valueOf('run_id'),
    uptimeMs: Number(valueOf('uptime_in_seconds') ?? Infinity) * 1000,
    version: valueOf('redis_version'),
    evictionPolicy: valueOf('maxmemory_policy')
  }
}

/** What an operator has to change. */
export function toFactWarnings ({ version, evictionPolicy }: RedisFacts): string[] {
  const warnings: string[] = []
  if (evictionPolicy !== null && evictionPolicy !== 'noeviction') {
    warnings.push(`Redis has maxmemory-policy ${evictionPolicy}, and so may drop sessions: set noeviction`)
  }
  if (version !== null && isTooOld(version)) {
    warnings.push(`Redis is ${version}; 6.2 or later is needed`)
  }
  return warnings
}

/** @param version - as INFO reports it */
export function isTooOld (version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major < VERSION_MIN[0]! || (major === VERSION_MIN[0] && minor < VERSION_MIN[1]!)
}
