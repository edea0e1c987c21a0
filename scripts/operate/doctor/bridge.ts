import { askBroker } from '../../../src/bridge/ask-broker.ts'
import { UpstreamError } from '../../../src/bridge/upstream-error.ts'
import { toAddress, toFilter } from '../../../src/bridge/upstream.ts'
import type { Config } from '../../../src/config/config.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

/** The external broker of `vital-gateway bridge`; nothing without `VITAL_BRIDGE_URL`. It subscribes to nothing there. */
export async function checkBridge ({ bridge }: Pick<Config, 'bridge'>): Promise<Finding[]> {
  if (bridge === null) return []
  const check = 'bridge'
  try {
    const startedAtMs = performance.now()
    const { warnings } = await askBroker(bridge)
    const answeredMs = performance.now() - startedAtMs
    return [
      ok(check, `the broker at ${toAddress(bridge)} answers in ${answeredMs.toFixed(1)} ms; the subscription would be ${toFilter(bridge)}`),
      bridge.tls === null && !bridge.isLoopback
        ? warn('bridge TLS', `readings and the password cross the network to ${bridge.host} ` +
          'unencrypted', 'use mqtts:// in VITAL_BRIDGE_URL')
        : ok('bridge TLS', bridge.tls === null ? `none needed: ${bridge.host}` : `TLS to ${bridge.host}`),
      ...warnings.map((warning) => warn(check, warning))
    ]
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error
    return [fail(check, error.message, error.isPermanent ? null : 'start it, or correct VITAL_BRIDGE_URL')]
  }
}
