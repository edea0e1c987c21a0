import type { Command } from 'commander'
import { createPassThrough } from '../../command-line/pass-through.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { countReceived } from '../../../db/queries/count-received.ts'
import { ACCESS_ARGUMENTS, ACCESS_HELP, readAccess, tellOfPlaintext, toHttpUrl } from '../../command-line/access.ts'
import { OperatorError, type OperatorOptions, parseArguments } from '../../command-line/command.ts'
import { toMetricsUrl, withDatabase } from '../../command-line/database.ts'
import { toPrintableJson, toTable } from '../../command-line/printable.ts'
import { compare } from './compare.ts'
import { scrape, type Scrape } from './scrape.ts'

/** All of `readings` is read. */
const STATEMENT_TIMEOUT_MS = 3_600_000

const AUDIT_HELP = `Compares what a running gateway counted since its start with what lies in PostgreSQL, and explains each difference.

  npm run audit
  npm run audit -- --url http://127.0.0.1:3000 --url http://127.0.0.1:3001

  --url URL          the gateway; one --url for each that writes to the database (http://127.0.0.1:3000, or what VITAL_ADMIN_PORT,
                     VITAL_HOST and VITAL_HTTP_PORT say)
${ACCESS_HELP}
  --json             for a program

  Traffic may go on meanwhile. All of readings is read: on a large database this takes minutes and disk bandwidth.
  PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
  Exit status: 0 when all is balanced or explained; 1 when a difference is not, or something could not be reached; 2 for wrong usage.`

/**
 * What `npm run audit` does.
 * @returns the exit status: 1 when a difference has no explanation
 * @throws `OPERATOR_USAGE`, `OPERATOR_FAILED`
 */
export async function runAudit ({ args, readConfig, print, tell }: OperatorOptions): Promise<number> {
  const { values } = parseArguments({
    args: [...args],
    options: { url: { type: 'string', multiple: true }, ...ACCESS_ARGUMENTS, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } }
  })
  if (values.help === true) {
    print(AUDIT_HELP)
    return 0
  }
  const config = readConfig()
  const urls = [...new Set((values.url ?? [toMetricsUrl(config)]).map(toHttpUrl))]
  const access = await readAccess(values, tell)
  if (access.token !== null) for (const url of urls) tellOfPlaintext(url, tell)
  const scrapeAll = () => Promise.all(urls.map((url) => scrape(url, access)))
  const before = await scrapeAll()
  const since = Math.min(...before.map(({ startedAt }) => startedAt))
  const received = await withDatabase({ config, name: 'audit', statementTimeoutMs: STATEMENT_TIMEOUT_MS },
    ({ kysely }) => countReceived(kysely, since))
  const after = await scrapeAll()
  for (const [index, { url, startedAt }] of after.entries()) {
    if (before[index]?.startedAt !== startedAt) throw new OperatorError('OPERATOR_FAILED', `the gateway at ${url} was restarted during the audit: run it again.`)
  }
  const findings = compare(before, received, after)
  const wrong = findings.filter(({ status }) => status === 'wrong').length
  if (values.json === true) print(toPrintableJson({ since, gateways: after, tables: received, findings }))
  else print([...toHeader(after, since), ...toTable(findings.map(({ subject, status, text }) => [status, subject, text])), toVerdict(wrong)].join('\n'))
  return wrong > 0 ? 1 : 0
}

function toHeader (scrapes: readonly Scrape[], since: number): string[] {
  return [
    ...scrapes.map(({ url, startedAt }) => `${url} runs since ${new Date(startedAt * 1000).toISOString()}`),
    `compared: what was received since ${new Date(since * 1000).toISOString()}`
  ]
}

function toVerdict (wrong: number): string {
  return wrong === 0 ? 'balanced' : `${wrong} without an explanation`
}

export function createCommand (surroundings: CommandSurroundings): Command {
  return createPassThrough('audit', surroundings, runAudit)
}
