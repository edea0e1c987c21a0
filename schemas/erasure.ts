import Type, { type Static } from 'typebox'

const count = (description: string) => Type.Integer({ description, minimum: 0 })

/** The answer of `DELETE /vital-data/{device}`: the rows removed, and places that may still hold data of the device. */
export const ErasureAnswerSchema = Type.Object({
  deviceId: Type.String(),
  readings: count('Rows of readings, those that were brought in from the spool included'),
  latest: count('Its latest state: 1, or 0 where there was none'),
  deadLetters: count('Rows of dead_letters'),
  retained: count('Retained messages, at the gateway that answers'),
  queued: count('Messages that waited for subscribers that are offline, at the gateway that answers'),
  damagedSpoolFiles: count('Files of the spool that the disk damaged: kept aside, never replayed, and not searched'),
  gateways: Type.Array(Type.Object({
    name: Type.String({ description: 'Host, process and start, as in pg_stat_activity' }),
    state: Type.Union([Type.Literal('confirmed'), Type.Literal('silent'), Type.Literal('away')], {
      description: 'confirmed: nothing older of the device can come from it. silent: it is connected to PostgreSQL and did not answer. ' +
        'away: it is not connected. Both deal with the request before they write again.'
    })
  }), { description: 'Each gateway on this database' }),
  remains: Type.Array(Type.Object({
    where: Type.String(),
    until: Type.String()
  }), { description: 'Places that may still hold data of the device, and until when' })
})

export type ErasureAnswer = Static<typeof ErasureAnswerSchema>
