import Type, { type Static } from 'typebox'
import { FaultSchema } from './fault.ts'
import { REASONS } from './reason.ts'

/** Published on `vital/{device}/rejected` when something of that device was refused. */
export const RejectionSchema = Type.Object({
  reason: Type.Enum([...REASONS]),
  errors: Type.Array(FaultSchema),
  receivedAt: Type.Number({ description: 'Unix seconds at which the gateway received the payload' })
}, { additionalProperties: false })

export type Rejection = Static<typeof RejectionSchema>

/** A rejection that is to be announced. */
export interface Announcement {
  /** Unique among announcements. */
  readonly id: string
  readonly device: string
  readonly rejection: Rejection
}
