import type { Kysely } from 'kysely'
import { appendAuditLog } from '../../../db/queries/append-audit-log.ts'
import { deleteDeadLetters } from '../../../db/queries/delete-dead-letters.ts'
import { findDeadLetter } from '../../../db/queries/find-dead-letter.ts'
import type { Tables } from '../../../db/tables.ts'
import type { StoredDeadLetter } from '../../../schemas/dead-letter.ts'
import { toPrintable } from '../../command-line/printable.ts'
import { toResendBody } from './body.ts'
import type { ResendTarget } from './gateway.ts'
import { toErrorText } from './show.ts'

export interface ResendRequest {
  readonly kysely: Kysely<Tables>
  readonly gateway: ResendTarget
  readonly ids: readonly string[]
  /** For the audit log. */
  readonly actor: string
  /** Replaces the topic's device. */
  readonly device: string | null
  /** Replaces the letter's payload. */
  readonly payload: Buffer | null
  readonly print: (line: string) => void
}

/**
 * Sends letters to the gateway's own ingest, one after the other, in the order given. A letter is removed only after a
 * 202: its readings are durable. When the command ends in between, a letter may be stored and not yet removed; sent again, its
 * readings count as duplicates.
 * Over HTTP and not over MQTT, because a PUBACK does not tell a reading that was stored from one that was refused again.
 * @throws `OPERATOR_FAILED` when the gateway is away; letters that were not sent by then stay
 */
export async function resendDeadLetters (
  { kysely, gateway, ids, actor, device, payload, print }: ResendRequest
): Promise<{ resent: number, kept: number }> {
  let resent = 0
  let kept = 0
  let isChecked = false
  for (const id of ids) {
    const letter = await findDeadLetter(kysely, id)
    if (letter === undefined) {
      print(`missing   ${id}: there is no dead letter with this id`)
      kept++
      continue
    }
    if (!isChecked) await gateway.assertSameDatabase(id)
    isChecked = true
    const why = await resend(letter)
    if (why === null) resent++
    else kept++
    print(why === null ? `resent    ${id}` : `kept      ${id}: ${toPrintable(why)}`)
  }
  return { resent, kept }

  /** @returns why it was kept; `null` when it is stored and removed */
  async function resend (letter: StoredDeadLetter): Promise<string | null> {
    const prepared = toResendBody(letter, { device, payload })
    if ('why' in prepared) return prepared.why
    const posted = await gateway.post(prepared.body)
    if (posted.status === 'refused') {
      const { message, details = [] } = posted.answer
      return details.length === 0 ? message : details.map(toErrorText).join('; ')
    }
    await kysely.transaction().execute(async (transaction) => {
      await deleteDeadLetters(transaction, [letter.id])
      await appendAuditLog(transaction, {
        actor,
        act: 'dead_letters.replay',
        target: device ?? letter.deviceId ?? undefined,
        details: { id: letter.id, ...device === null ? {} : { as: device }, ...payload === null ? {} : { isMended: true } }
      })
    })
    return null
  }
}
