import type { Config } from '../../../src/config/config.ts'
import { fitConnections, readDescriptorLimit, toDescriptorRefusal } from '../../../src/process/descriptors.ts'
import { toNodeRefusal } from '../../../src/process/node-version.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

export function checkNode (version = process.versions.node): Finding {
  const refusal = toNodeRefusal(version)
  return refusal === null ? ok('node', `Node.js ${version}`) : fail('node', refusal)
}

/** Open files, against the connections that the configuration allows. */
export function checkDescriptors (config: Config, descriptorsMax = readDescriptorLimit()): Finding {
  const refusal = toDescriptorRefusal(descriptorsMax)
  if (refusal !== null) return fail('descriptors', refusal.replace(/^vital-gateway: /, ''))
  const added = fitConnections(config, descriptorsMax).warnings.slice(config.warnings.length)
  const [text] = added
  if (text !== undefined) return warn('descriptors', text)
  return ok('descriptors', `${descriptorsMax} open files, enough for VITAL_CONNECTIONS_MAX=${config.brokerLimits.connectionsMax}`)
}
