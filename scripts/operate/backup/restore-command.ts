import { Command, Option } from 'commander'
import { RepeatableOption } from '../../command-line/equip.ts'
import { toPrintable, toPrintableJson, toTable } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { toRecoveredRows, toSummary } from './report.ts'
import { restoreBackup } from './restore.ts'
import { untilSignal } from './until-signal.ts'

const NOTES = `
Examples:
  vital-gateway restore --from /mnt/backup/2026-11-29 --to data --erasures data.old/erasures.jsonl
  vital-gateway restore --from /mnt/backup/2026-11-29 --to data --no-erasures

Readings that were acknowledged after the backup are not in it, and devices no longer have them.
Exit status: 0; 1 when it failed, or rows are missing; 2 for a wrong command line.`

interface Values {
  readonly from: string
  readonly to: string
  readonly erasures?: readonly string[]
  readonly withoutErasures?: boolean
  readonly json?: boolean
}

/** `vital-gateway restore`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  return new Command('restore')
    .description('Makes a data directory from a backup, recovers its database, counts the rows, and repeats erasures since then.')
    .requiredOption('--from <dir>', 'the backup')
    .requiredOption('--to <dir>', 'the data directory to make (VITAL_DATA_DIR): absent, or empty but for erasures.jsonl')
    .addOption(new RepeatableOption('--erasures <file>',
      'the erasures.jsonl of the old data directory, or your copy of it; one --erasures for each'))
    .addOption(createWithoutErasures())
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { surroundings.finish(await restore(values, surroundings)) })
}

/** Commander would take it for the negation of --erasures, and let the last of both win. */
function createWithoutErasures (): Option {
  const option = new Option('--no-erasures', 'there is none: devices that were erased since the backup come back')
  option.negate = false
  option.attributeName = () => 'withoutErasures'
  return option.conflicts('erasures')
}

/** @returns the exit status: 1 when rows are missing that were there when the backup began */
async function restore (
  { from, to, erasures = [], withoutErasures = false, json = false }: Values, { readConfig, print, tell, progress }: CommandSurroundings
): Promise<number> {
  const restored = await untilSignal((signal) => restoreBackup({
    config: readConfig(), from, to, erasures: withoutErasures ? null : erasures, tell, progress, signal
  }))
  const { manifest, erased, ...counts } = restored
  if (json) print(toPrintableJson({ ...toSummary(manifest), ...counts, erased }))
  else {
    print([`restored ${from} into ${to}`, ...toTable([
      ...toRecoveredRows(restored, manifest),
      ...erased.map(({ device, readings, deadLetters }) =>
        ['erased again', toPrintable(device), `${readings} readings, ${deadLetters} dead letters`])
    ])].join('\n'))
    tell(`Nothing that was acknowledged after ${manifest.endedAt} is in it.`)
    tell(`Start the gateway with VITAL_DATA_DIR=${to}.`)
  }
  return restored.missing > 0 ? 1 : 0
}
