import { Command } from 'commander'
import { ConfigError } from '../../../src/config/config-error.ts'
import { compactLake } from '../../../src/lake/compact-lake.ts'
import type { Compacted, Joined } from '../../../src/lake/compacting.ts'
import { isStoreError, toStoreMessage } from '../../../src/lake/object-store.ts'
import { OperatorError, usageError } from '../../command-line/operator-error.ts'
import { toPrintableJson } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { durationOption } from '../../command-line/values.ts'
import { untilSignal } from '../backup/until-signal.ts'

const HOUR_S = 3600
const DAY_MS = 24 * HOUR_S * 1000

const NOTES = `
Examples:
  vital-gateway lake compact --dry-run
  vital-gateway lake compact --day 2025-06-18
  15 3 * * *  vital-gateway lake compact          in a crontab: late readings of all days until the day before yesterday

Files of one partition and hour become files of at most VITAL_LAKE_FILE_BYTES. It may run beside lakes, beside erasures
and beside another one, and may be killed at any time: run it again then. A query that takes longer than --longest-query
may miss readings that were moved meanwhile; a shorter one finds some twice, with one id. Files that were emptied are
removed by a run a day later. VITAL_LAKE_URL and the credentials are those of vital-gateway lake; Kafka and PostgreSQL
are not needed.
Exit status: 0; 1 when it failed, or when others changed some files time and again; 2 for a wrong command line.`

interface CompactValues {
  readonly day?: string
  readonly before?: string
  readonly longestQuery: number
  readonly dryRun?: boolean
  readonly json?: boolean
}

/** `vital-gateway lake compact`. */
export function createCompactCommand ({ readConfig, print, tell, finish }: CommandSurroundings): Command {
  return new Command('compact')
    .description('join small files of the lake')
    .option('--day <day>', 'only this day of readings, such as 2025-06-18', (text) => parseDay('day', text))
    .option('--before <day>', 'only days before this one; yesterday, where neither is given', (text) => parseDay('before', text))
    .addOption(durationOption('--longest-query <time>', 'how long a file stays whose readings are in another one', {
      maxS: 24 * HOUR_S, maxName: 'a day'
    }).default(300, '5m'))
    .option('--dry-run', 'tell what would be joined, and change nothing')
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async ({ day, before, longestQuery, dryRun: isDryRun = false, json = false }: CompactValues) => {
      if (day !== undefined && before !== undefined) throw usageError('--day and --before exclude each other')
      const range = day === undefined ? { day: null, before: before ?? toDay(Date.now() - DAY_MS) } : { day, before: '9999' }
      const compacted = await untilSignal((signal) => toFailure(signal, compactLake({
        config: readConfig(),
        range,
        queryMsMax: longestQuery * 1000,
        isDryRun,
        signal,
        onJoined: (joined) => { if (!json) print(toLine(joined, isDryRun)) },
        onWait: () => { tell(`waiting at most ${longestQuery} s before files are emptied: queries may read them`) }
      })))
      if (json) print(toPrintableJson({ isDryRun, ...compacted }))
      else print(toSummary(compacted, isDryRun))
      finish(compacted.contested === 0 ? 0 : 1)
    })
}

const toDay = (ms: number) => new Date(ms).toISOString().slice(0, 10)

function parseDay (name: string, text: string): string {
  const ms = Date.parse(`${text}T00:00:00Z`)
  if (!Number.isNaN(ms) && toDay(ms) === text) return text
  throw usageError(`--${name} must be a day such as 2025-06-18, not "${text}"`)
}

async function toFailure<Result> (signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (cause) {
    if (signal.aborted) throw new OperatorError('OPERATOR_FAILED', 'interrupted; nothing is lost: run it again', { cause })
    if (cause instanceof ConfigError) throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
    if (!isStoreError(cause)) throw cause
    throw new OperatorError('OPERATOR_FAILED', `the store of VITAL_LAKE_URL: ${toStoreMessage(cause)}; run it again`, { cause })
  }
}

function toLine ({ hour, topicId, partition, files, bytes, readings }: Joined, isDryRun: boolean): string {
  const [day, time] = new Date(hour * HOUR_S * 1000).toISOString().split('T') as [string, string]
  return `day=${day}/hour=${time.slice(0, 2)} partition ${partition} of ${topicId}: ${files} files` +
    (isDryRun ? ` would become one of about ${bytes} bytes` : ` are one of ${bytes} bytes, ${readings} readings`)
}

function toSummary ({ joined, emptied, removed, left, contested }: Compacted, isDryRun: boolean): string {
  const files = joined.reduce((sum, joint) => sum + joint.files, 0)
  if (isDryRun) return `${files} files would become ${joined.length}; ${removed} empty files would be removed; nothing was done`
  return `${files} files became ${joined.length}; ${emptied} were emptied, ${removed} empty files removed, ${left} stay for a day` +
    (contested === 0 ? '' : `; ${contested} hours of partitions were changed by others time and again: run it again`)
}
