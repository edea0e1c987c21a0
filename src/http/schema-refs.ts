import Type, { type TObject, type TSchema } from 'typebox'
import { DeadLetterListSchema, DeadLetterSchema, DeadLetterSummarySchema } from '../../schemas/dead-letter.ts'
import { DEVICE_ID_RULE } from '../../schemas/device-id.ts'
import { ErasureAnswerSchema } from '../../schemas/erasure.ts'
import {
  ConnectedEventSchema, DisconnectedEventSchema, MissedEventSchema, ReadingEventSchema, RejectedEventSchema
} from '../../schemas/event.ts'
import { FaultSchema } from '../../schemas/fault.ts'
import { BucketHistorySchema, HistorySchema } from '../../schemas/history.ts'
import { ReadingSchema } from '../../schemas/reading.ts'
import {
  AcceptedSchema, ErrorAnswerSchema, LiveSchema, ReadySchema, ResourceListSchema, ResourceSchema
} from '../../schemas/vital-data.ts'
import type { HttpApp } from './app.ts'
import { toErrorAnswer } from './error-answer.ts'
import { HTTP_ERRORS } from './errors.ts'
import { RETRY_AFTER_UNAVAILABLE_S } from './limits.ts'

/** The schemas that the documentation names under `components`. */
const COMPONENTS = {
  Reading: ReadingSchema,
  Accepted: AcceptedSchema,
  Resource: ResourceSchema,
  ResourceList: withProperties(ResourceListSchema, { resources: Type.Array(ref('Resource')) }),
  History: HistorySchema,
  BucketHistory: BucketHistorySchema,
  Erasure: ErasureAnswerSchema,
  Fault: FaultSchema,
  DeadLetterSummary: withProperties(DeadLetterSummarySchema, { errors: Type.Array(ref('Fault')) }),
  DeadLetterList: withProperties(DeadLetterListSchema, { resources: Type.Array(ref('DeadLetterSummary')) }),
  DeadLetter: withProperties(DeadLetterSchema, { errors: Type.Array(ref('Fault')) }),
  ErrorAnswer: withProperties(ErrorAnswerSchema, { details: Type.Array(ref('Fault')) }),
  Live: LiveSchema,
  Ready: ReadySchema,
  // Data of server-sent events, which OpenAPI 3.1 cannot describe further.
  ReadingEvent: ReadingEventSchema,
  RejectedEvent: withProperties(RejectedEventSchema, { errors: Type.Array(ref('Fault')) }),
  ConnectedEvent: ConnectedEventSchema,
  DisconnectedEvent: DisconnectedEventSchema,
  MissedEvent: MissedEventSchema
}

type ComponentName = 'Reading' | 'Accepted' | 'Resource' | 'ResourceList' | 'History' | 'BucketHistory' | 'Erasure' |
  'Fault' | 'DeadLetterSummary' | 'DeadLetterList' | 'DeadLetter' | 'ErrorAnswer' | 'Live' | 'Ready'

/** The same schema, in which `properties` point at components. */
function withProperties<Schema extends TObject> (
  schema: Schema, properties: Readonly<Record<string, TSchema>>
): TSchema {
  return { ...schema, properties: { ...schema.properties, ...properties } }
}

/** The path of a device. */
export const DEVICE_PARAMS = Type.Object({
  device: Type.String({ description: `Device id, percent-encoded: ${DEVICE_ID_RULE}`, examples: ['band-17'] })
})

/** A query without names. */
export const NO_QUERY = Type.Object({}, { additionalProperties: false })

const POSITION_TEXT = 'a place in the log of PostgreSQL, where it has replicas (`DATABASE_READ_URL`)'

/** The header of a 202 that a client may send back. */
export const POSITION = Type.Object({
  'vital-position': Type.Optional(Type.String({
    description: `Of a 202: ${POSITION_TEXT}. The answer shows at least what was stored by then. Without it, the answer of a ` +
      'replica may be up to 5 s old.',
    examples: ['1:0/1A2B3C4']
  }))
})

/** The same header of a 202. */
export const POSITION_ANSWER = {
  'Vital-Position': {
    description: `To be sent with a GET that must show what was stored: ${POSITION_TEXT}. Left out while the reading waits ` +
      'in the spool or in Kafka, where no GET shows it yet.',
    schema: Type.String({ examples: ['1:0/1A2B3C4'] })
  }
}

/** Points at one of the components, which {@link addComponents} makes known. */
export function ref (name: ComponentName): TSchema {
  return Type.Ref(`${name}#`)
}

export function addComponents (app: HttpApp): void {
  for (const [name, schema] of Object.entries(COMPONENTS)) app.addSchema({ ...schema, $id: name })
}

/** One answer of a route, with its meaning and an example. */
export function answers (description: string, name: ComponentName, example: unknown) {
  return { description, content: { 'application/json': { schema: ref(name), example } } }
}

type ErrorName = keyof typeof HTTP_ERRORS

/** Errors of the connection, of the first hook, and of defects. */
const EVERYWHERE: readonly ErrorName[] = [
  'BadRequest', 'TooManyRequests', 'RequestTimeout', 'HeadersTooLarge', 'Internal'
]
const AUTHENTICATED: readonly ErrorName[] = ['Unauthenticated', 'Forbidden', 'AuthenticationUnavailable']

const RETRY_AFTER = {
  'Retry-After': {
    description: 'Seconds after which asking again can help',
    schema: Type.Integer({ minimum: 1, examples: [RETRY_AFTER_UNAVAILABLE_S] })
  }
}
const HEADERS: Readonly<Record<number, object>> = {
  401: {
    'WWW-Authenticate': { description: 'How a credential is sent', schema: Type.String({ examples: ['Bearer'] }) }
  },
  415: {
    'Accept-Encoding': {
      description: '`identity`, where the body was compressed', schema: Type.String({ examples: ['identity'] })
    }
  },
  429: RETRY_AFTER,
  503: RETRY_AFTER
}

/** The documentation of a route's errors: by status, each with its code and message as an example. */
export function errorAnswers (...names: readonly ErrorName[]): Record<number, object> {
  return toAnswers([...names, ...EVERYWHERE, ...AUTHENTICATED])
}

/** The same for a route that asks for no credential. */
export function publicErrorAnswers (...names: readonly ErrorName[]): Record<number, object> {
  return toAnswers([...names, ...EVERYWHERE])
}

function toAnswers (names: readonly ErrorName[]): Record<number, object> {
  const byStatus: Record<number, { description: string, headers?: object, examples: Record<string, object> }> = {}
  for (const name of new Set(names)) {
    const answer = toErrorAnswer(new HTTP_ERRORS[name]())
    const { statusCode, code, error, message } = answer
    const headers = HEADERS[statusCode]
    const known = byStatus[statusCode] ??= { description: error, examples: {}, ...headers && { headers } }
    known.examples[code] = { summary: message, value: answer }
  }
  return Object.fromEntries(Object.entries(byStatus).map(([status, { examples, ...rest }]) =>
    [status, { ...rest, content: { 'application/json': { schema: ref('ErrorAnswer'), examples } } }]))
}
