import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { Kysely } from 'kysely'
import { appendAuditLog } from '../../../db/queries/append-audit-log.ts'
import { deleteDeadLetters } from '../../../db/queries/delete-dead-letters.ts'
import { findDeadLetter } from '../../../db/queries/find-dead-letter.ts'
import { selectDeadLetterIds } from '../../../db/queries/select-dead-letter-ids.ts'
import { selectDeadLetters } from '../../../db/queries/select-dead-letters.ts'
import type { Tables } from '../../../db/tables.ts'
import { toDeadLetter } from '../../../schemas/dead-letter.ts'
import type { Config } from '../../../src/config/config.ts'
import { readAccess, tellOfPlaintext } from '../../command-line/access.ts'
import { toActor } from '../../command-line/actor.ts'
import { toGatewayUrl, withDatabase } from '../../command-line/database.ts'
import { createGatewayClient } from '../../command-line/gateway-client.ts'
import { OperatorError, usageError } from '../../command-line/operator-error.ts'
import { toPrintableJson } from '../../command-line/printable.ts'
import type { CommandSurroundings, Print } from '../../command-line/surroundings.ts'
import { createResendTarget } from './gateway.ts'
import {
  createDeadLettersCommand, type DiscardOptions, type ListOptions, type ResendOptions, type Selection, type ShowOptions
} from './options.ts'
import { resendDeadLetters } from './resend.ts'
import { toLetterLines, toListLines } from './show.ts'

const STATEMENT_TIMEOUT_MS = 60_000
/** Letters deleted in one statement. */
const DISCARD_CHUNK = 1000
/** Ids in one line of the audit log. */
const IDS_LOGGED_MAX = 100
/** Added to the time after which the gateway answers 503. */
const ANSWER_MARGIN_MS = 10_000

/** `vital-gateway dead-letters`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const { print, tell, readConfig, finish } = surroundings
  const withLetters = (config: Config, work: (kysely: Kysely<Tables>) => Promise<number>) =>
    withDatabase({ config, name: 'dead-letters', statementTimeoutMs: STATEMENT_TIMEOUT_MS }, ({ kysely }) => work(kysely))
  return createDeadLettersCommand({
    async list (options) { finish(await withLetters(readConfig(), (kysely) => list(kysely, options, print))) },
    async show (options) { finish(await withLetters(readConfig(), (kysely) => show(kysely, options, print))) },
    async discard (options) { finish(await withLetters(readConfig(), (kysely) => discard(kysely, options, print))) },
    async resend (options) {
      const config = readConfig()
      const payload = options.payloadFile === null ? null : await readPayload(options.payloadFile)
      finish(await withLetters(config, (kysely) => resend(kysely, options, { config, payload, print, tell })))
    }
  })
}

async function list (kysely: Kysely<Tables>, { filter, limit, asJson }: ListOptions, print: Print): Promise<number> {
  const page = await selectDeadLetters(kysely, { ...filter, count: limit, offset: 0 })
  print(asJson ? toPrintableJson(page) : toListLines(page).join('\n'))
  return 0
}

async function show (kysely: Kysely<Tables>, { id, asJson }: ShowOptions, print: Print): Promise<number> {
  const letter = await findDeadLetter(kysely, id)
  if (letter === undefined) throw new OperatorError('OPERATOR_FAILED', `there is no dead letter ${id}`)
  print(asJson ? toPrintableJson(toDeadLetter(letter)) : toLetterLines(letter).join('\n'))
  return 0
}

/** The ids are read first and then deleted, so that a letter that arrives in between is not discarded unseen. */
async function discard (kysely: Kysely<Tables>, { selection, isConfirmed }: DiscardOptions, print: Print): Promise<number> {
  const ids = await select(kysely, selection)
  if ('filter' in selection && ids.length > 1 && !isConfirmed) {
    throw new OperatorError('OPERATOR_FAILED', `${ids.length} dead letters match; nothing was discarded. Add --yes to discard them.`)
  }
  let discarded = 0
  for (let at = 0; at < ids.length; at += DISCARD_CHUNK) {
    discarded += await kysely.transaction().execute(async (transaction) => {
      const deleted = await deleteDeadLetters(transaction, ids.slice(at, at + DISCARD_CHUNK))
      if (deleted > 0) {
        await appendAuditLog(transaction, {
          actor: toActor(), act: 'dead_letters.discard', target: toTarget(selection), details: toDetails(selection, deleted)
        })
      }
      return deleted
    })
  }
  print(`discarded ${discarded}${discarded < ids.length ? `; ${ids.length - discarded} were not there` : ''}`)
  return discarded < ids.length ? 1 : 0
}

async function resend (
  kysely: Kysely<Tables>, command: ResendOptions, { config, payload, print, tell }: {
    config: Config
    payload: Buffer | null
    print: Print
    tell: Print
  }
): Promise<number> {
  const url = command.url ?? toGatewayUrl(config)
  const access = await readAccess(command.access, tell)
  if (access.token !== null) tellOfPlaintext(url, tell)
  const { resent, kept } = await resendDeadLetters({
    kysely,
    gateway: createResendTarget(createGatewayClient({ url, access, timeoutMs: config.ackTimeoutMs + ANSWER_MARGIN_MS })),
    ids: await select(kysely, command.selection),
    actor: toActor(),
    device: command.device,
    payload,
    print
  })
  print(`resent ${resent}, kept ${kept}`)
  return kept > 0 ? 1 : 0
}

async function select (kysely: Kysely<Tables>, selection: Selection): Promise<readonly string[]> {
  return 'ids' in selection ? selection.ids : await selectDeadLetterIds(kysely, selection.filter)
}

function toTarget (selection: Selection): string | undefined {
  return 'filter' in selection ? selection.filter.device : undefined
}

function toDetails (selection: Selection, discarded: number): Record<string, unknown> {
  return 'ids' in selection && selection.ids.length <= IDS_LOGGED_MAX
    ? { discarded, ids: selection.ids }
    : { discarded, ...'filter' in selection ? selection.filter : {} }
}

async function readPayload (file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw usageError(`--payload ${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}
