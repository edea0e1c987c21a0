import { isUtf8 } from 'node:buffer'
import Type, { type Static } from 'typebox'
import { FaultSchema } from './fault.ts'
import { REASONS } from './reason.ts'
import { TRANSPORTS } from './transport.ts'
import { PAGE_COUNT_MAX, PAGE_OFFSET_MAX } from './vital-data.ts'

const second = (description: string) => Type.Optional(Type.Integer({
  minimum: 0, maximum: 253_402_300_799, description: `${description}, Unix seconds`, examples: [1735689600]
}))

/** The query of `GET /dead-letters`, after defaults. */
export const DeadLetterQuerySchema = Type.Object({
  count: Type.Integer({ minimum: 1, maximum: PAGE_COUNT_MAX, default: 20, description: 'Dead letters on the page', examples: [20] }),
  offset: Type.Integer({ minimum: 0, maximum: PAGE_OFFSET_MAX, default: 0, description: 'Dead letters to skip', examples: [40] }),
  device: Type.Optional(Type.String({ minLength: 1, description: 'Only of this device', examples: ['band-17'] })),
  reason: Type.Optional(Type.Enum([...REASONS], { description: 'Only with this reason', examples: ['invalid_reading'] })),
  since: second('Received then or later'),
  until: second('Received before')
}, { additionalProperties: false })

export type DeadLetterQuery = Static<typeof DeadLetterQuerySchema>

const orNull = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

const summary = {
  id: Type.String({ format: 'uuid' }),
  receivedAt: Type.Number({ description: 'When the gateway received it, Unix seconds', examples: [1735689600.25] }),
  transport: Type.Enum([...TRANSPORTS], { description: 'How the input came in' }),
  topic: orNull('MQTT topic; null over HTTP'),
  clientId: orNull('MQTT client id; null over HTTP'),
  deviceId: orNull('null where the topic names no valid device'),
  reason: Type.Enum([...REASONS]),
  errors: Type.Array(FaultSchema, {
    description: 'What was wrong; paths point into the payload, or into the array ' +
    'that it was an element of'
  }),
  payloadBytes: Type.Integer({ minimum: 0 })
}

/** One refused input without its payload: a page could hold a hundred payloads of the largest size. */
export const DeadLetterSummarySchema = Type.Object(summary, { additionalProperties: false })

export type DeadLetterSummary = Static<typeof DeadLetterSummarySchema>

/** The answer of `GET /dead-letters`. */
export const DeadLetterListSchema = Type.Object({
  total: Type.Integer({ minimum: 0, description: 'Dead letters that match, whatever the page' }),
  resources: Type.Array(DeadLetterSummarySchema)
}, { additionalProperties: false })

export type DeadLetterList = Static<typeof DeadLetterListSchema>

/** The answer of `GET /dead-letters/{id}`: one refused input, whole. */
export const DeadLetterSchema = Type.Object({
  ...summary,
  payload: Type.String({ contentEncoding: 'base64', description: 'The bytes as they came, base64' }),
  text: orNull('The payload as text; null where it is not UTF-8')
}, { additionalProperties: false })

export type DeadLetter = Static<typeof DeadLetterSchema>

/** A letter as it is stored. */
export type StoredDeadLetter = DeadLetterSummary & { readonly payload: Buffer }

/** A letter as it is shown. */
export function toDeadLetter ({ payload, ...rest }: StoredDeadLetter): DeadLetter {
  return { ...rest, payload: payload.toString('base64'), text: isUtf8(payload) ? payload.toString() : null }
}
