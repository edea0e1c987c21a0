import type { HttpApp } from './app.ts'
import Type, { type TSchema } from 'typebox'
import { ReadingSchema } from '../../schemas/reading.ts'
import {
  AcceptedSchema, ErrorAnswerSchema, LiveSchema, ReadySchema, ResourceListSchema, ResourceSchema
} from '../../schemas/vital-data.ts'

/** The schemas that the documentation names under `components`. */
const COMPONENTS = {
  Reading: ReadingSchema,
  Accepted: AcceptedSchema,
  Resource: ResourceSchema,
  ResourceList: { ...ResourceListSchema, properties: { ...ResourceListSchema.properties, resources: Type.Array(ref('Resource')) } },
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

/** The documentation of a route's errors. */
export function errorAnswers (...statusCodes: readonly number[]): Record<number, TSchema> {
  return Object.fromEntries(statusCodes.map((statusCode) => [statusCode, ref('ErrorAnswer')]))
}
