/** Settings of a load generator: one process, one round. */
export interface LoadSettings {
  readonly traffic: 'closed' | 'open' | 'idle' | 'get'
  /** `mqtt`: 3.1.1. */
  readonly protocol: 'mqtt' | 'mqtt5' | 'http' | 'grpc'
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
  /** Each publish is that of one of so many devices, at random; 0: each connection is one device. QoS 1 only. */
  readonly devices: number
  /** The generated secret of each connection's device; `null`: connections without credentials. */
  readonly secrets: readonly string[] | null
}

/** Settings of the process that asks for pages. Each second's requests are spread over {@link GET_SORTS} in turn. */
export interface GetSettings {
  readonly port: number
  readonly ratePerS: number
  readonly deepRatePerS: number
  readonly deepOffset: number
  readonly warmupMs: number
  readonly measureMs: number
}

export const GET_SORTS = ['deviceId', 'heartRate', 'breathRate', 'timestamp'] as const

export interface LatencyMs { readonly p50: number, readonly p99: number, readonly p999: number }

/** Latencies of GETs in milliseconds, from when each was due; both orders of a sort count together. */
export interface GetReport {
  readonly requestsPerS: number
  readonly all: LatencyMs
  readonly bySort: Readonly<Record<typeof GET_SORTS[number], LatencyMs>>
  /** Pages that begin at the deep offset, every sort. */
  readonly deep: LatencyMs
  /** Answered 503, warm-up included; each counts above as 60 s. */
  readonly refused: number
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
  readonly latencyMs: LatencyMs | null
  /** How late the generator itself sent what was due, 99th percentile; part of the latency. */
  readonly sendLagP99Ms: number | null
}

export type ToLoad = { readonly type: 'run', readonly settings: LoadSettings } | { readonly type: 'go' }

export interface ToGetLoad { readonly type: 'get', readonly settings: GetSettings }

export type FromLoad =
  | { readonly type: 'connected' }
  | { readonly type: 'measuring' }
  | { readonly type: 'measured' }
  | { readonly type: 'result', readonly report: LoadReport }
  | { readonly type: 'pages', readonly report: GetReport }
  | { readonly type: 'failed', readonly message: string }

/** Sent by the servers to compare with, bare broker and bare Fastify, once they listen. */
export interface ServerListening { readonly type: 'listening', readonly port: number }
