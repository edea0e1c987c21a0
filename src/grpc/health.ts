import type { Server } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { GRPC_LIMITS } from './limits.ts'

/** The whole server, and the service. */
const SERVICES = ['', 'vital.v1.Ingest']

/**
 * `grpc.health.v1.Health`: SERVING while `/health/ready` answers 200, so a load balancer sees one state on every port.
 * @param isReady - whether a reading that comes in now would be acknowledged
 */
export function addHealth (server: Server, isReady: () => boolean) {
  const health = new HealthImplementation()
  let wasReady: boolean | null = null
  let timer: NodeJS.Timeout | null = null

  function update (): void {
    const ready = isReady()
    if (ready === wasReady) return
    wasReady = ready
    for (const service of SERVICES) health.setStatus(service, ready ? 'SERVING' : 'NOT_SERVING')
  }

  health.addToServer(server)
  return {
    start (): void {
      update()
      timer = setInterval(update, GRPC_LIMITS.checkIntervalMs).unref()
    },
    /** Tells watchers before their calls end. */
    update,
    stop (): void {
      if (timer !== null) clearInterval(timer)
    }
  }
}
