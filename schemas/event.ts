import Type, { type Static } from 'typebox'
import { CLOSE_REASONS } from './close-reason.ts'
import { DEVICE_ID_RULE, DEVICE_PREFIX_PATTERN, DEVICE_PREFIX_RULE } from './device-id.ts'
import { patternWithRule } from './fault.ts'
import { RejectionSchema } from './rejection.ts'

/** Devices that one listener of `GET /events` may name. */
export const EVENT_DEVICES_MAX = 100

/** The query of `GET /events`: some devices, those of a prefix, or all. */
export const EventsQuerySchema = Type.Object({
  device: Type.Optional(Type.Array(Type.String(), {
    minItems: 1,
    maxItems: EVENT_DEVICES_MAX,
    description: `Only of this device, ${DEVICE_ID_RULE}; may be given up to ${EVENT_DEVICES_MAX} times`,
    examples: [['band-17']]
  })),
  prefix: Type.Optional(Type.String({
    ...patternWithRule(DEVICE_PREFIX_PATTERN, DEVICE_PREFIX_RULE),
    description: 'Only of devices whose id begins so; not beside `device`',
    examples: ['ward-3-'],
    'x-excludes': ['device']
  }))
}, { additionalProperties: false })

export type EventsQuery = Static<typeof EventsQuerySchema>

const deviceId = Type.String({ examples: ['band-17'] })
const timestamp = (description: string) => Type.Number({
  description: `${description}, Unix seconds`, examples: [1735689600.25]
})

/** The data of the event `reading`: a reading was stored. */
export const ReadingEventSchema = Type.Object({
  deviceId,
  timestamp: timestamp('Time of the reading'),
  vitals: Type.Object({}, {
    additionalProperties: true,
    description: 'Every field of the reading, under the name it was sent with',
    examples: [{ heartRateValue: 71, temperatureValue: 36.6 }]
  })
}, { additionalProperties: false })

/** The data of the event `rejected`: the same as on `vital/{device}/rejected`. */
export const RejectedEventSchema = Type.Object({
  deviceId, ...RejectionSchema.properties
}, { additionalProperties: false })

/** The data of the event `connected`: a device has its CONNACK. */
export const ConnectedEventSchema = Type.Object({
  deviceId, timestamp: timestamp('When it connected')
}, { additionalProperties: false })

/** The data of the event `disconnected`. */
export const DisconnectedEventSchema = Type.Object({
  deviceId,
  timestamp: timestamp('When its connection ended'),
  reason: Type.Enum([...CLOSE_REASONS], { description: 'Why it ended' })
}, { additionalProperties: false })

/** The data of the event `missed`: events that this listener will not get. */
export const MissedEventSchema = Type.Object({
  count: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], {
    description: 'How many events were left out; null where that is not known, and then it may be none'
  })
}, { additionalProperties: false })
