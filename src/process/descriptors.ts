import { readFileSync } from 'node:fs'

/**
 * Loading the program takes hundreds of files at once; with fewer descriptors Node reports packages that it cannot
 * find. This number leaves room for some connections too.
 */
const DESCRIPTORS_MIN = 512

/** The loop, the spool, logs, files that are being read, and a reserve. */
const OWN_DESCRIPTORS = 64
/**
 * Share of the rest. HTTP carries health and metrics, which must answer when MQTT has used its share. gRPC has as much
 * where it is on.
 */
const HTTP_SHARE = 0.25
const HTTP_MIN = 32

/**
 * Open files that this process may have (RLIMIT_NOFILE; Node raises the soft limit to the hard one); `Infinity` where
 * the limit is unknown.
 */
export function readDescriptorLimit (): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return limit === undefined ? Infinity : Number(limit)
  } catch {
    // macOS; there the limit of a process is 10,240 or more.
    return Infinity
  }
}

/** The reason why this process cannot start with so few descriptors; `null` when it can. */
export function toDescriptorRefusal (descriptorsMax = readDescriptorLimit()): string | null {
  if (descriptorsMax >= DESCRIPTORS_MIN) return null
  return `vital-gateway: this process may open ${descriptorsMax} files, and needs ${DESCRIPTORS_MIN} to start and ` +
    'one more for each connection: raise the limit (ulimit -n 65536, LimitNOFILE= of systemd, ulimits: nofile of ' +
    'compose).'
}

/** The part of a configuration that the descriptors bound. */
interface Bounded {
  readonly brokerLimits: { readonly connectionsMax: number }
  readonly databaseConnectionsMax: number
  readonly httpConnectionsMax: number
  /** 0: no gRPC. */
  readonly grpcConnectionsMax: number
  readonly warnings: readonly string[]
}

/**
 * Bounds connections to the available descriptors, with a reserve for HTTP, PostgreSQL and the spool. Without the bound
 * the kernel would reset connections silently, and the next file or socket to PostgreSQL would also fail.
 */
export function fitConnections<C extends Bounded> (config: C, descriptorsMax = readDescriptorLimit()): C {
  const { brokerLimits, databaseConnectionsMax, httpConnectionsMax, grpcConnectionsMax, warnings } = config
  const own = OWN_DESCRIPTORS + 2 * databaseConnectionsMax
  if (brokerLimits.connectionsMax + httpConnectionsMax + grpcConnectionsMax + own <= descriptorsMax) return config
  const free = Math.max(0, descriptorsMax - own)
  const share = Math.max(HTTP_MIN, Math.floor(free * HTTP_SHARE))
  const http = Math.min(httpConnectionsMax, share)
  const grpc = Math.min(grpcConnectionsMax, share)
  const mqtt = Math.max(1, Math.min(brokerLimits.connectionsMax, free - http - grpc))
  const warning = `of ${descriptorsMax} open files, which is the limit of this process, ${mqtt} are left for MQTT ` +
    `connections, fewer than VITAL_CONNECTIONS_MAX=${brokerLimits.connectionsMax}: raise the limit (ulimit -n, ` +
    'LimitNOFILE=, ulimits: nofile) or lower the variable'
  return {
    ...config,
    brokerLimits: { ...brokerLimits, connectionsMax: mqtt },
    httpConnectionsMax: http,
    grpcConnectionsMax: grpc,
    warnings: mqtt < brokerLimits.connectionsMax ? [...warnings, warning] : warnings
  }
}
