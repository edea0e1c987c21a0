import { usageError } from '../command-line/operator-error.ts'

/** What is sent, and what the gateway is compared with. */
export interface Workload {
  readonly name: string
  readonly traffic: 'closed' | 'open' | 'idle' | 'get'
  /** `mqtt`: 3.1.1. */
  readonly protocol: 'mqtt' | 'mqtt5' | 'http' | 'grpc'
  readonly qos: 0 | 1
  readonly connections: number
  readonly inFlight: number
  readonly readingsPerAnswer: number
  readonly ratePerS: number
  /** Devices to which publishes go, in `latest` from the start; 0: each connection is one device. */
  readonly devices: number
  readonly reference: 'broker' | 'http' | 'mqtt' | 'postgres' | 'database' | 'anonymous' | 'none'
  /** In one sentence, for the report. */
  readonly about: string
  /** What the reference does not do, for the report. */
  readonly caveat: string | null
}

/** The port that a workload's traffic goes to. */
export function toPort (
  ports: Readonly<Record<Exclude<Workload['protocol'], 'mqtt5'>, number>>, protocol: Workload['protocol']
): number {
  return ports[protocol === 'mqtt5' ? 'mqtt' : protocol]
}

export const STORES = ['database', 'spool'] as const

/** Where the measured gateway makes readings durable: PostgreSQL, or the disk spool while PostgreSQL is away. */
export type StoreName = typeof STORES[number]

const CLOSED = {
  traffic: 'closed',
  protocol: 'mqtt',
  qos: 1,
  connections: 50,
  inFlight: 20,
  readingsPerAnswer: 1,
  ratePerS: 0,
  devices: 0,
  reference: 'broker',
  caveat: null
} as const

const OPEN_CONNECTIONS = 1000

/** Requests a second, and where a deep page begins. */
export const GETS = { ratePerS: 40, deepRatePerS: 4, deepOffset: 90_000 } as const

const NAMED: Readonly<Record<string, Omit<Workload, 'name'>>> = {
  qos0: {
    ...CLOSED,
    qos: 0,
    inFlight: 2,
    readingsPerAnswer: 20,
    about: 'QoS 0, 50 connections, a PINGREQ after every 20 publishes, 2 of them unanswered; the PINGRESP counts the 20 as read'
  },
  arrays: {
    ...CLOSED,
    inFlight: 4,
    readingsPerAnswer: 50,
    about: 'QoS 1, 50 connections x 4 in flight, 50 readings per publish',
    caveat: 'the bare broker does not look inside, so see postgres'
  },
  http: {
    ...CLOSED,
    protocol: 'http',
    inFlight: 1,
    reference: 'http',
    about: 'POST /vital-data, 50 keep-alive connections, one reading and one request at a time each'
  },
  postgres: {
    ...CLOSED,
    inFlight: 4,
    readingsPerAnswer: 50,
    reference: 'postgres',
    about: 'the workload arrays, against the same rows written straight into the same PostgreSQL (COPY, upsert of latest, COMMIT)'
  },
  grpc: {
    ...CLOSED,
    protocol: 'grpc',
    reference: 'mqtt',
    about: 'gRPC Publish, 50 streams x 20 in flight, one reading a request, against the same readings over MQTT'
  },
  'grpc-arrays': {
    ...CLOSED,
    protocol: 'grpc',
    inFlight: 4,
    readingsPerAnswer: 50,
    reference: 'mqtt',
    about: 'gRPC Publish, 50 streams x 4 in flight, 50 readings a request, against arrays over MQTT'
  },
  get: {
    ...CLOSED,
    traffic: 'get',
    connections: OPEN_CONNECTIONS,
    inFlight: 32,
    ratePerS: 20_000,
    devices: 100_000,
    reference: 'none',
    about: toGetAbout(20_000)
  },
  idle: {
    ...CLOSED,
    traffic: 'idle',
    connections: 10_000,
    about: '10,000 idle connections; bytes of resident memory that each adds'
  }
}

function toGetAbout (readingsPerS: number): string {
  return `GET /vital-data, first page by each sort in both orders over 100,000 devices, ${GETS.ratePerS}/s open loop, while ` +
    `${readingsPerS.toLocaleString('en-US')} readings/s arrive (QoS 1, open loop, 1,000 connections); ` +
    `deep: from offset ${GETS.deepOffset}, ${GETS.deepRatePerS}/s`
}

/** In the order in which they run; `open` stands for both rates. */
export const DEFAULT_WORKLOADS = '50x20,500x20,5000x1,qos0,arrays,http,grpc,grpc-arrays,postgres,open,get,idle'

/** What `--auth` runs by default. */
export const AUTH_WORKLOADS = '500x20'

/** What `--store spool` runs by default: few and many connections, and the most readings for the least work of the broker. */
export const SPOOL_WORKLOADS = '50x20,500x20,arrays'

/**
 * @param list - names, separated by commas: those of {@link DEFAULT_WORKLOADS}, any `{connections}x{in flight}`, the
 *   same with `-v5` for MQTT 5, `open@{rate per second}` and `get@{readings per second}`
 * @throws Error that names an unknown workload
 */
export function parseWorkloads (list: string): Workload[] {
  return list.split(',').flatMap((name) => name === 'open' ? ['open@10000', 'open@40000'] : [name]).map(parseWorkload)
}

/**
 * The same traffic, with the gateway's usual store as the reference.
 * @throws Error where no acknowledgement waits for a store, or where the reference is PostgreSQL already
 */
export function toSpoolWorkload (workload: Workload): Workload {
  if (workload.traffic === 'idle' || workload.qos === 0 || workload.reference === 'postgres' || workload.traffic === 'get') {
    throw usageError(`--store spool does not go with the workload "${workload.name}": ` +
      'it compares acknowledgements that wait for the spool with those that wait for PostgreSQL')
  }
  return { ...workload, reference: 'database', caveat: null }
}

/**
 * The same traffic with a credential for each connection, beside a gateway that needs none.
 * @throws Error where connections have no device of their own to prove, or the traffic is not MQTT
 */
export function toAuthWorkload (workload: Workload): Workload {
  if (workload.protocol !== 'mqtt' || workload.devices > 0 || workload.reference === 'postgres') {
    throw usageError(`--auth does not go with the workload "${workload.name}": each connection must be one device that publishes over MQTT`)
  }
  return { ...workload, reference: 'anonymous', caveat: null }
}

function parseWorkload (name: string): Workload {
  const named = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined
  if (named !== undefined) return { name, ...named }
  const [, connections, inFlight, version] = /^([1-9]\d{0,4})x([1-9]\d{0,3})(-v5)?$/.exec(name) ?? []
  if (connections !== undefined && inFlight !== undefined) {
    return {
      ...CLOSED,
      // Aedes does not speak MQTT 5: compare with the same workload of MQTT 3.1.1.
      ...(version !== undefined && { protocol: 'mqtt5', reference: 'none' } as const),
      name,
      connections: Number(connections),
      inFlight: Number(inFlight),
      about: `QoS 1, ${connections} connections x ${inFlight} in flight${version === undefined ? '' : ', MQTT 5'}`
    }
  }
  const getRate = /^get@([1-9]\d{0,6})$/.exec(name)?.[1]
  if (getRate !== undefined) {
    const ratePerS = Number(getRate)
    return { name, ...NAMED['get']!, ratePerS, about: toGetAbout(ratePerS) }
  }
  const rate = /^open@([1-9]\d{0,6})$/.exec(name)?.[1]
  if (rate !== undefined) {
    return {
      ...CLOSED,
      name,
      traffic: 'open',
      connections: OPEN_CONNECTIONS,
      inFlight: 32,
      ratePerS: Number(rate),
      about: `QoS 1, open loop: ${rate}/s from ${OPEN_CONNECTIONS} connections; latency from when each was due to its PUBACK`
    }
  }
  throw usageError(`unknown workload "${name}": take some of ${DEFAULT_WORKLOADS}, {connections}x{in flight} (or …-v5), ` +
    'open@{rate} or get@{rate}')
}
