import { Command } from 'commander'
import { selectOffsets } from '../../../db/queries/select-offsets.ts'
import { askLeaderEpochs } from '../../../src/kafka/ask-leader-epochs.ts'
import { type TrimmedPartition, trimTopics } from '../../../src/kafka/trim-topics.ts'
import { withDatabase } from '../../command-line/database.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { toPrintable, toPrintableJson, toTable } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { numberOption } from '../../command-line/values.ts'
import { withAdmin } from './with-admin.ts'

const STATEMENT_TIMEOUT_MS = 10_000
const HOUR_MS = 3_600_000

const NOTES = `
A consumer is registered by its rows in sink_offsets, which a sink makes by itself. A partition for which one of them has
no position is left as it is. A group that is gone holds all back until it is dropped:
  delete from sink_offsets where consumer_group = 'old'`

interface TrimValues {
  readonly keepHours: number
  readonly dryRun?: boolean
  readonly json?: boolean
}

/** `vital-gateway topics trim`. */
export function createTrimCommand (surroundings: CommandSurroundings): Command {
  const { readConfig, print } = surroundings
  return new Command('trim')
    .description('delete records that all consumers have stored')
    // An older backup cannot be brought up to date from the log.
    .addOption(numberOption('--keep-hours <n>', 'records that are younger stay', { min: 0, max: 87_600 }).default(24))
    .option('--dry-run', 'tell what would be deleted, and delete nothing')
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async ({ keepHours, dryRun: isDryRun = false, json }: TrimValues) => {
      const offsets = await withDatabase({ config: readConfig(), name: 'topics', statementTimeoutMs: STATEMENT_TIMEOUT_MS },
        ({ kysely }) => selectOffsets(kysely))
      if (offsets.length === 0) {
        throw new OperatorError('OPERATOR_FAILED', 'no consumer is registered (sink_offsets is empty), so nothing was deleted')
      }
      const keptSinceMs = Date.now() - Math.round(keepHours * HOUR_MS)
      const trimmed = await withAdmin(surroundings, 'vital-gateway topics',
        (_client, admin, _bytes, ask) => trimTopics({
          admin, findEpochEnds: (asked) => askLeaderEpochs(ask, asked), offsets, keptSinceMs, isDryRun
        }))
      if (json === true) print(toPrintableJson({ isDryRun, partitions: trimmed }))
      else print(toReport(trimmed, isDryRun).join('\n'))
    })
}

function toReport (trimmed: readonly TrimmedPartition[], isDryRun: boolean): string[] {
  const rows = trimmed.map(({ topic, partition, from, to, heldBy }) =>
    [topic, String(partition), `${to - from}`, `${to}`, toPrintable(heldBy)])
  const records = trimmed.reduce((sum, { from, to }) => sum + to - from, 0)
  return [
    ...toTable([['topic', 'partition', 'deleted', 'first now', 'held back by'], ...rows]),
    isDryRun ? `${records} records would be deleted; nothing was` : `${records} records deleted`
  ]
}
