/**
 * AsyncAPI 3.0 of what is published over MQTT and of `GET /events`, from the same schemas that check and type it.
 * Actions are those of the gateway: it receives readings, and sends what subscribers and listeners get.
 */
import Type, { type TObject, type TSchema } from 'typebox'
import { DEVICE_ID_RULE } from './device-id.ts'
import {
  ConnectedEventSchema, DisconnectedEventSchema, EventsQuerySchema, MissedEventSchema, ReadingEventSchema,
  RejectedEventSchema
} from './event.ts'
import { EXAMPLES } from './examples.ts'
import { FaultSchema } from './fault.ts'
import { READINGS_PER_ARRAY_MAX, ReadingSchema } from './reading.ts'
import { RejectionSchema } from './rejection.ts'

const schemaRef = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const ref = (path: string) => ({ $ref: `#/${path}` })

const JSON_TYPE = 'application/json'

function withFaults<Schema extends TObject> (schema: Schema): TSchema {
  return { ...schema, properties: { ...schema.properties, errors: Type.Array(Type.Unsafe(schemaRef('Fault'))) } }
}

const SCHEMAS: Readonly<Record<string, TSchema | object>> = {
  Reading: ReadingSchema,
  Readings: Type.Array(Type.Unsafe(schemaRef('Reading')), {
    minItems: 1,
    maxItems: READINGS_PER_ARRAY_MAX,
    description: 'Each element stands for itself: good ones are stored, each bad one becomes a dead letter'
  }),
  Fault: FaultSchema,
  Rejection: withFaults(RejectionSchema),
  ReadingEvent: ReadingEventSchema,
  RejectedEvent: withFaults(RejectedEventSchema),
  ConnectedEvent: ConnectedEventSchema,
  DisconnectedEvent: DisconnectedEventSchema,
  MissedEvent: MissedEventSchema,
  Statistic: Type.String({ description: 'A number or a text, in ASCII' })
}

/** An event of `GET /events`: its name, and as payload its data. */
const event = (name: keyof typeof EXAMPLES.event, schema: string, title: string) => ({
  name,
  title,
  contentType: JSON_TYPE,
  payload: schemaRef(schema),
  examples: [{ name, payload: EXAMPLES.event[name] }]
})

const MESSAGES = {
  Reading: {
    title: 'One reading',
    contentType: JSON_TYPE,
    payload: schemaRef('Reading'),
    examples: [{ name: 'vitalSigns', payload: EXAMPLES.reading }]
  },
  Readings: {
    title: 'Several readings',
    contentType: JSON_TYPE,
    payload: schemaRef('Readings'),
    examples: [{ name: 'array', payload: EXAMPLES.readings }]
  },
  Rejection: {
    title: 'Why something of the device was refused',
    contentType: JSON_TYPE,
    payload: schemaRef('Rejection'),
    examples: [{ name: 'invalidReading', payload: EXAMPLES.rejection }]
  },
  Statistic: {
    title: 'A statistic of the broker',
    contentType: 'text/plain',
    payload: schemaRef('Statistic'),
    examples: [{ name: 'clients', payload: '17' }]
  },
  ReadingEvent: event('reading', 'ReadingEvent', 'A reading was stored'),
  RejectedEvent: event('rejected', 'RejectedEvent', 'Something of a device was refused'),
  ConnectedEvent: event('connected', 'ConnectedEvent', 'A device connected'),
  DisconnectedEvent: event('disconnected', 'DisconnectedEvent', 'The connection of a device ended'),
  MissedEvent: event('missed', 'MissedEvent', 'Events that the listener will not get')
}

const messagesOf = (...names: ReadonlyArray<keyof typeof MESSAGES>) =>
  Object.fromEntries(names.map((name) => [name, ref(`components/messages/${name}`)]))

const device = { device: { description: `Device id: ${DEVICE_ID_RULE}`, examples: ['band-17'] } }

const mqttServer = [ref('servers/mqtt')]

const CHANNELS = {
  readings: {
    address: 'vital/{device}',
    title: 'Readings of a device',
    servers: mqttServer,
    parameters: device,
    messages: messagesOf('Reading', 'Readings')
  },
  rejections: {
    address: 'vital/{device}/rejected',
    title: 'Rejections of a device',
    servers: mqttServer,
    parameters: device,
    messages: messagesOf('Rejection')
  },
  statistics: {
    address: '$SYS/broker/{statistic}',
    title: 'Statistics, every 10 seconds',
    servers: mqttServer,
    parameters: {
      statistic: {
        description: 'Levels below `$SYS/broker/`; the client subscribes to `$SYS/broker/#`',
        examples: ['clients/connected', 'messages/received', 'publish/messages/received', 'uptime', 'version']
      }
    },
    messages: messagesOf('Statistic')
  },
  events: {
    address: '/events',
    title: 'Live events',
    description: 'Server-sent events: the name of a message is the `event` of the stream, its payload the `data`. Each ' +
      'has an `id`; a client that comes back with `Last-Event-ID` gets the events since, or one `missed`.',
    servers: [ref('servers/http')],
    messages: messagesOf('ReadingEvent', 'RejectedEvent', 'ConnectedEvent', 'DisconnectedEvent', 'MissedEvent')
  }
}

const mqtt = (qos: 0 | 1, retain: boolean) => ({ mqtt: { qos, retain, bindingVersion: '0.2.0' } })

const operation = (
  action: 'send' | 'receive', channel: keyof typeof CHANNELS, summary: string, bindings: object, description?: string
) => ({
  action,
  channel: ref(`channels/${channel}`),
  summary,
  ...description !== undefined && { description },
  messages: Object.keys(CHANNELS[channel].messages).map((name) => ref(`channels/${channel}/messages/${name}`)),
  bindings
})

const OPERATIONS = {
  receiveReadings: operation('receive', 'readings', 'A device publishes readings', mqtt(1, false),
    'PUBACK (QoS 1) and PUBREC (QoS 2) are sent once the reading is durable; QoS 0 is stored without a promise. A ' +
    'payload that is refused is acknowledged, kept as a dead letter, and announced on `vital/{device}/rejected`.'),
  sendReadings: operation('send', 'readings', 'Subscribers get what was stored', mqtt(1, false)),
  sendRejections: operation('send', 'rejections', 'Subscribers get why something was refused', mqtt(1, false),
    'Once for each refused payload or element; none where the topic names no valid device.'),
  sendStatistics: operation('send', 'statistics', 'Operators get the statistics that Mosquitto has too', mqtt(0, true)),
  sendEvents: operation('send', 'events', 'Listeners get events of devices', {
    http: { method: 'GET', query: EventsQuerySchema, bindingVersion: '0.3.0' }
  }, 'Readings are sent at least once, after their COMMIT. `device` and `prefix` choose the devices.')
}

const SECRET = 'A secret of `vital-gateway credentials`, or a JSON Web Token'

/** @param version - of the gateway */
export function createAsyncApi (version: string): object {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'vital-gateway',
      version,
      description: 'Readings over MQTT 3.1.1 and 5: acknowledged means stored. Live events over HTTP.',
      license: { name: 'MIT' }
    },
    defaultContentType: JSON_TYPE,
    servers: {
      mqtt: {
        host: '{host}:1883',
        protocol: 'mqtt',
        protocolVersion: '3.1.1',
        description: 'TCP; over TLS at `VITAL_MQTTS_PORT`, over WebSocket at `/mqtt` of the HTTP port',
        variables: { host: { default: 'localhost' } },
        security: [ref('components/securitySchemes/password'), ref('components/securitySchemes/certificate')]
      },
      http: {
        host: '{host}:3000',
        protocol: 'http',
        protocolVersion: '1.1',
        description: 'HTTP, or HTTPS where the gateway has a certificate',
        variables: { host: { default: 'localhost' } },
        security: ['bearer', 'apiKey', 'basic'].map((name) => ref(`components/securitySchemes/${name}`))
      }
    },
    channels: CHANNELS,
    operations: OPERATIONS,
    components: {
      schemas: SCHEMAS,
      messages: MESSAGES,
      securitySchemes: {
        password: {
          type: 'userPassword',
          description: 'User name: the id of the principal, a device\'s own id. Password: a secret of `vital-gateway ' +
            'credentials`, or a JSON Web Token'
        },
        certificate: { type: 'X509', description: 'A client certificate that names the device' },
        bearer: { type: 'http', scheme: 'bearer', description: SECRET },
        apiKey: { type: 'httpApiKey', name: 'X-API-Key', in: 'header', description: SECRET },
        basic: { type: 'http', scheme: 'basic', description: `For browsers. The password is: ${SECRET}` }
      }
    }
  }
}
