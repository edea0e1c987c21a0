import Type, { type Static } from 'typebox'

const count = (description: string) => Type.Integer({ description, minimum: 0 })

/** The answer of `DELETE /vital-data/{device}`: the rows removed, and places that may still hold data of the device. */
export const ErasureAnswerSchema = Type.Object({
  deviceId: Type.String(),
  readings: count('Rows of readings, those that were brought in from the spool included'),
  latest: count('Its latest state: 1, or 0 where there was none'),
  deadLetters: count('Rows of dead_letters'),
  retained: count('Retained messages'),
  queued: count('Messages that waited for subscribers which are away'),
  damagedSpoolFiles: count('Files of the spool that the disk damaged: kept aside, never replayed, and not looked into'),
  otherGateways: count('Further gateways on this database; each has a spool and retained messages of its own')
})

export type ErasureAnswer = Static<typeof ErasureAnswerSchema>
