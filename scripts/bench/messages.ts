/** What the bench tells a load generator: one process, one round. */
export interface LoadSettings {
  readonly traffic: 'closed' | 'open' | 'idle'
  readonly protocol: 'mqtt' | 'http'
  readonly qos: 0 | 1
  readonly port: number
  readonly connections: number
  /** Packets (for QoS 0 pings) that may be unanswered on one connection. */
  readonly inFlight: number
  /** Readings that one answer stands for. */
  readonly readingsPerAnswer: number
  /** Open loop only: readings each second over all connections. */
  readonly ratePerS: number
  readonly warmupMs: number
  readonly measureMs: number
  /** New for each round, so that no reading of it was ever sent before. */
  readonly devicePrefix: string
}

/** What one round measured, seen from the generator. Latencies in milliseconds. */
export interface LoadReport {
  readonly measuredMs: number
  /** Answered within the measured time. */
  readonly readingsMeasured: number
  /** Of the whole round, warm-up and drain included. */
  readonly readingsSent: number
  readonly readingsAcked: number
  /** Cores that the generator used while it measured: near 1 it was the limit. */
  readonly cpuCores: number
  readonly latencyMs: { readonly p50: number, readonly p99: number, readonly p999: number } | null
  /** How late the generator itself sent what was due, 99th percentile; part of the latency. */
  readonly sendLagP99Ms: number | null
}

export type ToLoad = { readonly type: 'run', readonly settings: LoadSettings } | { readonly type: 'go' }

export type FromLoad =
  | { readonly type: 'connected' }
  | { readonly type: 'measuring' }
  | { readonly type: 'measured' }
  | { readonly type: 'result', readonly report: LoadReport }
  | { readonly type: 'failed', readonly message: string }

/** What the servers to compare with, bare broker and bare Fastify, tell when they listen. */
export interface ServerListening { readonly type: 'listening', readonly port: number }
