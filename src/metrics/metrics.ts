import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { CIRCUIT_STATES, type CircuitState } from '../ingest/journal/circuit.ts'
import type { DeadLetterUsage } from '../ingest/dead-letter-caps.ts'
import { type Ledger, TRANSPORTS } from '../ingest/ledger.ts'
import { SPOOL_STATUSES, type SpoolStatus } from '../ingest/journal/spool/spool.ts'
import type { SecurityStatistics } from '../security/security.ts'

/** What the metrics read at each scrape. */
export interface MetricsSources {
  /** Unix milliseconds from which everything is counted. */
  readonly startedAtMs: number
  readonly ledger: Ledger
  /** Different names of fields that are nearly those of vital signs. */
  readonly nearMissNames: () => number
  readonly pending: () => number
  readonly bufferBytes: () => number
  readonly circuitState: () => CircuitState
  readonly isReadingStopped: () => boolean
  readonly spool: () => { readonly bytes: number, readonly status: SpoolStatus, readonly readings: number, readonly replayed: number, readonly damage: number, readonly setAside: number }
  readonly deadLetters: () => DeadLetterUsage
  readonly retention: () => { readonly readings: number, readonly partitions: number }
  /** Devices whose order is kept in memory, and whether sorted pages are picked from it. */
  readonly deviceOrder: () => { readonly devices: number, readonly isTrusted: boolean }
  readonly reads: () => { readonly waiting: number, readonly bytes: number, readonly refused: number }
  readonly warnings: () => number
  /** PostgreSQL's clock less ours. */
  readonly clockDifferenceS: () => number
  /** Dead letters that the database refused. */
  readonly lettersRefused: () => number
  /** Those of them for which their file had no room. */
  readonly lettersDropped: () => number
  readonly security: () => SecurityStatistics
  readonly mqtt: () => {
    readonly clientsConnected: number
    readonly connections: number
    readonly limitHits: ReadonlyMap<string, number>
    readonly loginsFailed: number
    readonly loginsHeld: number
    readonly takeovers: number
    readonly publishesForbidden: number
    readonly publishesRelayed: number
    readonly malformedPackets: number
    readonly packetsReceived: number
    readonly publishesReceived: number
    readonly deliveriesDropped: number
    readonly deliveriesUnwritable: number
    readonly retainedRefused: number
    readonly sessions: number
    readonly subscriptions: number
    readonly queuedMessages: number
    readonly queuedBytes: number
    readonly retainedMessages: number
    readonly retainedBytes: number
    readonly handshakesFailed: number
    readonly handshakesRefused: number
    readonly proxyHeadersRefused: number
    readonly webSocketsRefused: number
    /** Unix milliseconds; `null`: there is no certificate. */
    readonly certificateExpiresAtMs: number | null
  }
}

/** Seconds; from a batch on an idle machine to the default acknowledgement timeout. */
const ACK_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10]
const BATCH_READINGS_BUCKETS = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10_000]

/**
 * Prometheus metrics; their names are a contract.
 * The ledger is counted without them, and written into them in one go at each scrape, so that it balances in every answer.
 */
export function createMetrics (registry: Registry, sources: MetricsSources) {
  const registers = [registry]
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter({ name: `vital_${name}_total`, help, labelNames, registers })
  const gauge = (name: string, help: string) => new Gauge({ name: `vital_${name}`, help, registers })

  gauge('start_time_seconds', 'Unix time from which everything here is counted').set(sources.startedAtMs / 1000)
  const received = counter('readings_received', 'Readings that came in; an undecodable payload counts as one', ['transport'])
  const stored = counter('readings_stored', 'Readings committed in PostgreSQL', ['transport'])
  const duplicate = counter('readings_duplicate', 'Readings that were stored before', ['transport'])
  const deadLettered = counter('readings_dead_lettered', 'Inputs kept as dead letters', ['transport', 'reason'])
  const refused = counter('readings_refused', 'Inputs that were not kept', ['transport', 'reason'])
  const nearMissNames = counter('near_miss_names', 'Different field names that nearly are a vital sign\'s (heart_rate); the log names each, up to a hundred', [])
  const pending = gauge('readings_pending', 'Readings accepted and not yet decided')
  const bufferBytes = gauge('buffer_bytes', 'Bytes of readings accepted and not yet decided')
  const spoolBytes = gauge('spool_bytes', 'Bytes in the disk spool')
  const spoolState = new Gauge({ name: 'vital_spool_state', help: '1 for the state that the disk spool is in', labelNames: ['state'] as const, registers })
  const spoolReadings = gauge('spool_readings', 'Readings in the disk spool: acknowledged, not yet in PostgreSQL; part of vital_readings_pending')
  const spoolSetAside = gauge('spool_set_aside', 'Readings that PostgreSQL did not take by themselves; each is kept in a file in the directory of the spool')
  const spoolReplayed = counter('spool_replayed_readings', 'Readings brought from the spool into PostgreSQL', [])
  const spoolDamage = counter('spool_damaged_stretches', 'Places of the spool that the disk destroyed; their files are kept aside', [])
  const deadLetters = gauge('dead_letters', 'Dead letters kept, as counted at most a minute ago')
  const deadLettersMax = gauge('dead_letters_max', 'Dead letters kept at most; beyond, bad input is counted as refused{reason="over_cap"}')
  const deadLetterBytes = gauge('dead_letter_bytes', 'Payload bytes of the dead letters kept')
  const deadLetterBytesMax = gauge('dead_letter_bytes_max', 'Payload bytes of dead letters kept at most')
  const deadLettersPerDeviceMax = gauge('dead_letters_per_device_max', 'Dead letters kept of one device at most')
  const deadLetterDevicesAtCap = gauge('dead_letter_devices_at_cap', 'Devices of which no more dead letters are kept')
  const lettersRefused = counter('dead_letters_refused', 'Dead letters that the database refused; they are kept in a file of the data directory', [])
  const lettersDropped = counter('dead_letters_dropped', 'Dead letters that the database refused and that are gone, because their file was full', [])
  const retentionReadings = counter('retention_removed_readings', 'Readings that retention removed, estimated for large partitions', [])
  const retentionPartitions = counter('retention_dropped_partitions', 'Partitions that retention dropped', [])
  const databaseUp = gauge('database_up', '1 while PostgreSQL takes batches')
  const circuit = new Gauge({ name: 'vital_circuit_state', help: '1 for the state that the circuit to PostgreSQL is in', labelNames: ['state'] as const, registers })
  const orderTrusted = gauge('device_order_trusted', '1 while sorted pages are picked in memory; at 0 PostgreSQL sorts all devices for each')
  const orderDevices = gauge('device_order_devices', 'Devices whose order is kept in memory')
  const readsWaiting = gauge('reads_waiting', 'Reads that wait for their turn')
  const readBytes = gauge('read_bytes', 'Bytes of answers that were read and that no client took yet')
  const readsRefused = counter('reads_refused', 'Reads answered 503 because their turn did not come in time', [])
  const readingStopped = gauge('reading_stopped', '1 while reading from publishers is stopped: the buffer is full or nothing can be made durable')
  const warnings = gauge('warnings', 'Warnings that /health/ready lists')
  const clockDifference = gauge('clock_difference_seconds', 'PostgreSQL\'s clock less the gateway\'s; the later of both counts')
  const logins = counter('logins', 'Credentials checked: MQTT connections and HTTP requests; none while anonymous access is allowed', ['transport', 'outcome'])
  const refusedLogins = counter('logins_refused', 'MQTT connections and HTTP requests refused for who they are, by why; src/security/README.md has the reasons', ['transport', 'reason'])
  const anonymousAllowed = gauge('anonymous_allowed', '1 while no credentials exist and everyone may do everything')
  const principalsKnown = gauge('principals_known', 'Principals in memory, who can come in while PostgreSQL is away')
  const passwordsWaiting = gauge('passwords_waiting', 'Passwords that wait for their turn to be checked')
  const jwtKeysAge = gauge('jwt_keys_age_seconds', 'Since the keys of the tokens\' issuer were read; beyond an hour no token can be checked')
  const httpLimited = counter('http_requests_limited', 'HTTP requests answered 429 for their rate', [])
  const mqttClients = gauge('mqtt_clients', 'Connected MQTT clients')
  const mqttConnections = gauge('mqtt_connections', 'Open MQTT connections, those that wait for their turn included')
  const mqttKept = {
    loginsHeld: gauge('mqtt_logins_held', 'MQTT connections that wait because their credentials cannot be verified now'),
    sessions: gauge('mqtt_sessions', 'Persistent sessions that hold subscriptions'),
    subscriptions: gauge('mqtt_subscriptions', 'Subscriptions of connected clients'),
    queuedMessages: gauge('mqtt_queued_messages', 'Messages queued for sessions'),
    queuedBytes: gauge('mqtt_queued_bytes', 'Their bytes'),
    retainedMessages: gauge('mqtt_retained_messages', 'Retained messages'),
    retainedBytes: gauge('mqtt_retained_bytes', 'Their bytes')
  }
  const limitHits = counter('mqtt_limit_hits', 'How often a limit was met; broker/README.md has what each does', ['limit'])
  const loginsRefused = counter('mqtt_logins_refused', 'MQTT connections refused with return code 5', [])
  const takeovers = counter('mqtt_takeovers', 'MQTT connections closed because their client id connected again', [])
  const publishesForbidden = counter('mqtt_publishes_forbidden', 'MQTT connections closed for publishing on a topic that is not theirs', [])
  const publishesRelayed = counter('mqtt_publishes_relayed', 'MQTT publishes outside vital/: relayed to subscribers, stored nowhere', [])
  const malformedPackets = counter('mqtt_malformed_packets', 'MQTT connections closed for a packet that MQTT does not allow', [])
  const mqttPackets = counter('mqtt_packets_received', 'MQTT packets received', [])
  const mqttPublishes = counter('mqtt_publishes_received', 'MQTT PUBLISH packets received', [])
  const deliveriesDropped = counter('mqtt_deliveries_dropped', 'Deliveries dropped because the subscriber did not read', [])
  const deliveriesUnwritable = counter('mqtt_deliveries_unwritable', 'Deliveries dropped because their message cannot be encoded', [])
  const retainedRefused = counter('mqtt_retained_refused', 'Retained messages not retained, because the set is full', [])
  const handshakesFailed = counter('tls_handshakes_failed', 'TLS handshakes with MQTT clients that came to nothing', [])
  const handshakesRefused = counter('tls_handshakes_refused', 'TLS handshakes not begun, because too many were under way', [])
  const proxyHeadersRefused = counter('proxy_headers_refused', 'Connections of trusted proxies closed for want of a PROXY header', [])
  const webSocketsRefused = counter('websockets_refused', 'Upgrades to MQTT over WebSocket that were refused', [])
  const certificateExpiry = gauge('tls_certificate_expiry_timestamp_seconds', 'Unix time at which the certificate expires; 0 without one')
  const ackDuration = new Histogram({ name: 'vital_ack_duration_seconds', help: 'From receipt of a message to the moment that it is durable', buckets: ACK_BUCKETS, registers })
  const batchDuration = new Histogram({ name: 'vital_batch_duration_seconds', help: 'Time that a batch took to become durable', buckets: ACK_BUCKETS, registers })
  const batchReadings = new Histogram({ name: 'vital_batch_readings', help: 'Readings and dead letters in a batch', buckets: BATCH_READINGS_BUCKETS, registers })
  collectDefaultMetrics({ register: registry })

  function update (): void {
    for (const metric of [received, stored, duplicate, deadLettered, refused]) metric.reset()
    for (const transport of TRANSPORTS) {
      const account = sources.ledger.account(transport)
      received.inc({ transport }, account.received)
      stored.inc({ transport }, account.stored)
      duplicate.inc({ transport }, account.duplicate)
      for (const [reason, count] of account.deadLettered) deadLettered.inc({ transport, reason }, count)
      for (const [reason, count] of account.refused) refused.inc({ transport, reason }, count)
    }
    pending.set(sources.pending())
    bufferBytes.set(sources.bufferBytes())
    const spool = sources.spool()
    spoolBytes.set(spool.bytes)
    for (const state of SPOOL_STATUSES) spoolState.set({ state }, state === spool.status ? 1 : 0)
    spoolReadings.set(spool.readings)
    spoolSetAside.set(spool.setAside)
    const letters = sources.deadLetters()
    deadLetters.set(letters.letters)
    deadLettersMax.set(letters.deadLettersMax)
    deadLetterBytes.set(letters.bytes)
    deadLetterBytesMax.set(letters.deadLetterBytesMax)
    deadLettersPerDeviceMax.set(letters.deadLettersPerDeviceMax)
    deadLetterDevicesAtCap.set(letters.devicesAtCap)
    const retention = sources.retention()
    const state = sources.circuitState()
    databaseUp.set(state === 'closed' ? 1 : 0)
    for (const other of CIRCUIT_STATES) circuit.set({ state: other }, other === state ? 1 : 0)
    readingStopped.set(sources.isReadingStopped() ? 1 : 0)
    const deviceOrder = sources.deviceOrder()
    orderTrusted.set(deviceOrder.isTrusted ? 1 : 0)
    orderDevices.set(deviceOrder.devices)
    const reads = sources.reads()
    readsWaiting.set(reads.waiting)
    readBytes.set(reads.bytes)
    warnings.set(sources.warnings())
    clockDifference.set(sources.clockDifferenceS())
    const security = sources.security()
    logins.reset()
    for (const [transport, outcomes] of Object.entries(security.logins)) {
      for (const [outcome, count] of Object.entries(outcomes)) logins.inc({ transport, outcome }, count)
    }
    refusedLogins.reset()
    for (const [transport, reasons] of Object.entries(security.refusals)) {
      for (const [reason, count] of Object.entries(reasons)) refusedLogins.inc({ transport, reason }, count)
    }
    anonymousAllowed.set(security.isOpen ? 1 : 0)
    principalsKnown.set(security.principalsKnown)
    passwordsWaiting.set(security.passwordsWaiting)
    jwtKeysAge.set(security.keysAgeS)
    const mqtt = sources.mqtt()
    certificateExpiry.set((mqtt.certificateExpiresAtMs ?? 0) / 1000)
    mqttClients.set(mqtt.clientsConnected)
    for (const [name, metric] of Object.entries(mqttKept)) metric.set(mqtt[name as keyof typeof mqttKept])
    mqttConnections.set(mqtt.connections)
    limitHits.reset()
    for (const [limit, count] of mqtt.limitHits) limitHits.inc({ limit }, count)
    for (const [metric, value] of [
      [loginsRefused, mqtt.loginsFailed], [takeovers, mqtt.takeovers], [publishesForbidden, mqtt.publishesForbidden],
      [publishesRelayed, mqtt.publishesRelayed], [malformedPackets, mqtt.malformedPackets], [deliveriesUnwritable, mqtt.deliveriesUnwritable],
      [mqttPackets, mqtt.packetsReceived], [mqttPublishes, mqtt.publishesReceived],
      [deliveriesDropped, mqtt.deliveriesDropped], [retainedRefused, mqtt.retainedRefused],
      [handshakesFailed, mqtt.handshakesFailed], [handshakesRefused, mqtt.handshakesRefused],
      [proxyHeadersRefused, mqtt.proxyHeadersRefused], [webSocketsRefused, mqtt.webSocketsRefused],
      [readsRefused, reads.refused], [spoolReplayed, spool.replayed], [spoolDamage, spool.damage],
      [nearMissNames, sources.nearMissNames()], [lettersRefused, sources.lettersRefused()], [lettersDropped, sources.lettersDropped()], [retentionReadings, retention.readings], [retentionPartitions, retention.partitions]
    ] as const) {
      metric.reset()
      metric.inc(value)
    }
  }

  return {
    countLimited: () => httpLimited.inc(),
    observeAck: (durationMs: number) => ackDuration.observe(durationMs / 1000),
    observeBatch ({ readings, durationMs }: { readings: number, durationMs: number }): void {
      batchDuration.observe(durationMs / 1000)
      batchReadings.observe(readings)
    },
    /** The text exposition; every value of it belongs to the same instant. */
    async render (): Promise<string> {
      // prom-client reads all metrics in the tick in which this is called; nothing can change between.
      update()
      return await registry.metrics()
    }
  }
}
