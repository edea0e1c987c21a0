import type { DeadLetter, DeadLetterSummary } from './dead-letter.ts'
import type { ErasureAnswer } from './erasure.ts'
import type { Rejection } from './rejection.ts'
import type { ReadyAnswer, Resource } from './vital-data.ts'

/** Examples of the OpenAPI and AsyncAPI documents; a test checks each by its schema. */
const TIMESTAMP = 1735689600.25

const reading = { timestamp: TIMESTAMP, heartRateValue: 71, breathRateValue: 14 }

const resource: Resource = {
  deviceId: 'band-17',
  timestamp: TIMESTAMP,
  heartRate: 71,
  breathRate: null,
  vitals: { heartRateValue: 71, temperatureValue: 36.6 },
  vitalTimestamps: { heartRateValue: TIMESTAMP, temperatureValue: 1735686000 }
}

const rejection: Rejection = {
  reason: 'invalid_reading',
  errors: [{ path: '/heartRateValue', message: 'must be a finite number' }],
  receivedAt: TIMESTAMP
}

const letter: DeadLetterSummary = {
  id: '0197a3f2-9c1e-7d44-8b1a-5f0c2f6d1e90',
  receivedAt: TIMESTAMP,
  transport: 'mqtt',
  topic: 'vital/band-17',
  clientId: 'band-17',
  deviceId: 'band-17',
  reason: 'invalid_reading',
  errors: rejection.errors,
  payloadBytes: 25
}

const wholeLetter: DeadLetter = {
  ...letter, payload: 'eyJoZWFydFJhdGVWYWx1ZSI6IjcxIn0=', text: '{"heartRateValue":"71"}'
}

const erasure: ErasureAnswer = {
  deviceId: 'band-17',
  readings: 86_400,
  latest: 1,
  deadLetters: 0,
  retained: 0,
  queued: 0,
  damagedSpoolFiles: 0,
  gateways: [{ name: 'vital-gateway ward:4711/5f2c9a01b7e4', state: 'confirmed' }],
  remains: [{ where: 'backups', until: 'they are deleted; a restore erases again what erasures.jsonl of this gateway names' }]
}

const ready: ReadyAnswer = {
  status: 'ready', database: { status: 'up' }, spool: { status: 'ok', bytes: 0, bytesMax: 1_073_741_824 }, warnings: []
}

/** Data of the events of `GET /events`. */
const event = {
  reading: { deviceId: 'band-17', timestamp: TIMESTAMP, vitals: { heartRateValue: 71 } },
  rejected: { deviceId: 'band-17', ...rejection },
  connected: { deviceId: 'band-17', timestamp: TIMESTAMP },
  disconnected: { deviceId: 'band-17', timestamp: TIMESTAMP, reason: 'lost' },
  missed: { count: 17 }
}

export const EXAMPLES = {
  reading,
  readings: [reading, { timestamp: TIMESTAMP + 1, spo2Value: 97 }],
  resource,
  resourceList: { total: 1, resources: [resource], next: null },
  rejection,
  deadLetterList: { total: 1, resources: [letter] },
  deadLetter: wholeLetter,
  history: {
    deviceId: 'band-17',
    resources: [{ timestamp: TIMESTAMP, vitals: { heartRateValue: 71 }, receivedAt: TIMESTAMP + 0.5 }],
    next: null
  },
  historyLines: '{"timestamp":1735689600.25,"vitals":{"heartRateValue":71},"receivedAt":1735689600.75}\n',
  bucketHistory: {
    deviceId: 'band-17',
    every: '5m',
    resources: [{
      from: 1735689600,
      to: 1735689900,
      count: 2,
      vitals: { heartRateValue: { count: 2, min: 70, max: 72, mean: 71, first: 70, last: 72 } }
    }],
    next: null
  },
  bucketLines: 'from,vital,count,min,max,mean,first,last\n1735689600,heartRateValue,2,70,72,71,70,72\n',
  erasure,
  ready,
  event,
  events: `id: 761567c34bf3-42\nevent: reading\ndata: ${JSON.stringify(event.reading)}\n\n`
}
