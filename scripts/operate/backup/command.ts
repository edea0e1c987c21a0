import { Command } from 'commander'
import { usageError } from '../../command-line/operator-error.ts'
import { toPrintableJson, toTable } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { createBackup } from './create.ts'
import { toRecoveredRows, toRows, toSummary } from './report.ts'
import { untilSignal } from './until-signal.ts'
import { checkRestore, verifyFiles } from './verify.ts'

const NOTES = `
Examples:
  vital-gateway backup --to /mnt/backup/2026-11-29
  vital-gateway backup verify /mnt/backup/2026-11-29 --restore-check

Every reading that was acknowledged before "holds all before" is in it, and some later ones. It holds health data, the
password of the database and hashes of credentials: its files are for their owner only, and not encrypted. .env and the
files of TLS are not in it. Keep a copy of VITAL_DATA_DIR/erasures.jsonl apart: a restore needs the current one.
The directory is DIR.partial until it is whole and durable. This command is for VITAL_DATA_DIR; with DATABASE_URL use
the tools of your server (scripts/operate/README.md).
Exit status: 0; 1 when it failed (nothing of it is left then) or is damaged; 2 for a wrong command line.`

/** `vital-gateway backup`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const { readConfig, print, tell, progress, finish } = surroundings
  return new Command('backup')
    .description('Copies the embedded PostgreSQL and the spool of a gateway, consistently, while traffic flows or while it is stopped.')
    .option('--to <dir>', 'a new directory, on another disk')
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async ({ to, json = false }: { to?: string, json?: boolean }) => {
      if (to === undefined) throw usageError('say where to: --to DIR')
      const manifest = await untilSignal((signal) => createBackup({ config: readConfig(), to, tell, progress, signal }))
      print(json ? toPrintableJson(toSummary(manifest)) : [`backed up to ${to}`, ...toTable(toRows(manifest))].join('\n'))
      finish(0)
    })
    .addCommand(createVerify(surroundings))
}

function createVerify ({ print, progress, finish }: CommandSurroundings): Command {
  return new Command('verify')
    .description('Reads a backup and compares every file with the manifest.')
    .argument('<dir>', 'the backup')
    .option('--restore-check', 'restore it into a temporary directory beside it, and count the rows')
    .option('--json', 'print JSON')
    .action(async (directory: string, { restoreCheck = false, json = false }: { restoreCheck?: boolean, json?: boolean }) => {
      const manifest = await verifyFiles(directory, progress)
      const recovered = restoreCheck ? await untilSignal((signal) => checkRestore({ directory, manifest, progress, signal })) : null
      if (json) print(toPrintableJson({ ...toSummary(manifest), recovered }))
      else {
        const rows = recovered === null ? [] : toRecoveredRows(recovered, manifest)
        print([`${directory} is whole`, ...toTable([...toRows(manifest), ...rows])].join('\n'))
      }
      finish(recovered !== null && recovered.missing > 0 ? 1 : 0)
    })
}
