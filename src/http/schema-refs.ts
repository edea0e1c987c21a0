import Type, { type TSchema } from 'typebox'
import { ReadingSchema } from '../../schemas/reading.ts'
import {
  AcceptedSchema, ErrorAnswerSchema, LiveSchema, ReadySchema, ResourceListSchema, ResourceSchema
} from '../../schemas/vital-data.ts'
import type { HttpApp } from './app.ts'
import { toErrorAnswer } from './error-answer.ts'
import { HTTP_ERRORS } from './errors.ts'

/** The schemas that the documentation names under `components`. */
const COMPONENTS = {
  Reading: ReadingSchema,
  Accepted: AcceptedSchema,
  Resource: ResourceSchema,
  ResourceList: {
    ...ResourceListSchema, properties: { ...ResourceListSchema.properties, resources: Type.Array(ref('Resource')) }
  },
  ErrorAnswer: ErrorAnswerSchema,
  Live: LiveSchema,
  Ready: ReadySchema
}

type ComponentName = 'Reading' | 'Accepted' | 'Resource' | 'ResourceList' | 'ErrorAnswer' | 'Live' | 'Ready'

/** Points at one of the components, which {@link addComponents} makes known. */
export function ref (name: ComponentName): TSchema {
  return Type.Ref(`${name}#`)
}

export function addComponents (app: HttpApp): void {
  for (const [name, schema] of Object.entries(COMPONENTS)) app.addSchema({ ...schema, $id: name })
}

/** One answer of a route, with its meaning. */
export function answers (description: string, name: ComponentName) {
  return { description, content: { 'application/json': { schema: ref(name) } } }
}

/** Errors that the first hook of every route may answer. */
const EVERYWHERE = ['Unauthenticated', 'Forbidden', 'TooManyRequests', 'AuthenticationUnavailable'] as const

/** The documentation of a route's errors: by status, each with its code and message as an example. */
export function errorAnswers (...names: ReadonlyArray<keyof typeof HTTP_ERRORS>): Record<number, object> {
  const byStatus: Record<number, {
    description: string
    content: Record<string, { schema: TSchema, examples: Record<string, object> }>
  }> = {}
  for (const name of new Set([...names, ...EVERYWHERE])) {
    const answer = toErrorAnswer(new HTTP_ERRORS[name]())
    const documented = byStatus[answer.statusCode] ??= {
      description: answer.error,
      content: { 'application/json': { schema: ref('ErrorAnswer'), examples: {} } }
    }
    const media = documented.content['application/json']
    if (media !== undefined) media.examples[answer.code] = { summary: answer.message, value: answer }
  }
  return byStatus
}
