import { Command } from 'commander'
import { countReceived } from '../../../db/queries/count-received.ts'
import { selectOffsets, type StoredOffset } from '../../../db/queries/select-offsets.ts'
import { compareSample } from '../../../db/rollups/sample.ts'
import { checkTopics } from '../../../src/kafka/topics.ts'
import { type AccessValues, addAccessOptions, readAccess, tellOfPlaintext, toHttpUrl } from '../../command-line/access.ts'
import { toMetricsUrl, withDatabase } from '../../command-line/database.ts'
import { RepeatableOption } from '../../command-line/equip.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { toPrintableJson, toTable } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { withAdmin } from '../topics/with-admin.ts'
import { checkAverages, compare } from './compare.ts'
import { type Log, readPartitions } from './log.ts'
import { scrape, type Scrape } from './scrape.ts'

/** Averages drawn from the rows, and as many from the readings. */
const AVERAGES_DRAWN = 500

/** Long enough to read all of `readings`. */
const STATEMENT_TIMEOUT_MS = 3_600_000

const NOTES = `
Examples:
  vital-gateway audit
  vital-gateway audit --url http://127.0.0.1:3000 --url http://127.0.0.1:3001     every gateway, and every sink

Traffic may go on meanwhile. All of readings is read: on a large database this takes minutes and disk bandwidth.
With Kafka name gateways and sinks. Readings and dead letters are then counted together, and the audit tells how far
each consumer of the log has come, and whether Kafka still has its next record. KAFKA_BROKERS is the gateway's.
PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
Exit status: 0 when all is balanced or explained; 1 when a difference is not, or something could not be reached;
2 for a wrong command line.`

interface Values extends AccessValues {
  readonly url?: readonly string[]
  readonly json?: boolean
}

/** `vital-gateway audit`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const command = new Command('audit')
    .description('Compares what a running gateway counted since its start with the rows in PostgreSQL, and explains each difference.')
    .addOption(new RepeatableOption('--url <url>', 'the gateway; one --url for each that writes to the database ' +
      '(default: of VITAL_ADMIN_PORT, VITAL_HOST and VITAL_HTTP_PORT)'))
  return addAccessOptions(command)
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { surroundings.finish(await audit(values, surroundings)) })
}

/** @returns the exit status: 1 when a difference has no explanation */
async function audit (values: Values, surroundings: CommandSurroundings): Promise<number> {
  const { readConfig, print, tell } = surroundings
  const config = readConfig()
  const urls = [...new Set((values.url ?? [toMetricsUrl(config)]).map(toHttpUrl))]
  const access = await readAccess(values, tell)
  if (access.token !== null) for (const url of urls) tellOfPlaintext(url, tell)
  const scrapeAll = () => Promise.all(urls.map((url) => scrape(url, access)))
  const before = await scrapeAll()
  const since = Math.min(...before.map(({ startedAt }) => startedAt))
  const hasLog = config.journal.kind === 'kafka' || before.some(({ role, logged }) => role === 'sink' || logged > 0)
  const { received, sample, log } = await withDatabase({ config, name: 'audit', statementTimeoutMs: STATEMENT_TIMEOUT_MS },
    async ({ kysely }) => ({
      // Before the rows are counted: records that are not stored by then are known to wait.
      log: hasLog ? await readLog(await selectOffsets(kysely), surroundings) : null,
      received: await countReceived(kysely, since),
      sample: await compareSample(kysely, AVERAGES_DRAWN)
    }))
  const after = await scrapeAll()
  for (const [index, { url, startedAt }] of after.entries()) {
    if (before[index]?.startedAt !== startedAt) {
      throw new OperatorError('OPERATOR_FAILED',
      `the gateway at ${url} was restarted during the audit: run it again.`)
    }
  }
  const findings = [...compare(before, received, after, log), checkAverages(sample)]
  const wrong = findings.filter(({ status }) => status === 'wrong').length
  if (values.json === true) print(toPrintableJson({ since, gateways: after, tables: received, findings }))
  else {
    print([
      ...toHeader(after, since), ...toTable(findings.map(({ subject, status, text }) => [status, subject, text])), toVerdict(wrong)
    ].join('\n'))
  }
  return wrong > 0 ? 1 : 0
}

async function readLog (offsets: readonly StoredOffset[], surroundings: CommandSurroundings): Promise<Log> {
  const { kafka, sinkGroup } = surroundings.readConfig()
  const isWeakAllowed = kafka?.isWeakAllowed ?? false
  return await withAdmin(surroundings, 'vital-gateway audit', async (client, admin, messageBytesMin) => {
    const { faults } = await checkTopics(client, admin, messageBytesMin)
    return { offsets, partitions: await readPartitions(admin), faults, isWeakAllowed, sinkGroup }
  })
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
