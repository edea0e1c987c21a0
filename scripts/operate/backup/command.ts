import type { Command } from 'commander'
import { createPassThrough } from '../../command-line/pass-through.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import type { OperatorOptions, Print } from '../../command-line/command.ts'
import { OperatorError, parseArguments } from '../../command-line/command.ts'
import { toPrintable, toPrintableJson, toTable } from '../../command-line/printable.ts'
import { createBackup } from './create.ts'
import type { Recovered } from './lay-out.ts'
import { sumReadings } from '../../../db/embedded/base-backup.ts'
import { type Manifest, toBytes } from './manifest.ts'
import { restoreBackup } from './restore.ts'
import { toMiB } from './space.ts'
import { checkRestore, verifyFiles } from './verify.ts'

const BACKUP_HELP = `Copies the embedded PostgreSQL and the spool of a gateway, consistently, while traffic flows or
while it is stopped.

  npm run backup -- --to DIR
  npm run backup -- verify DIR [--restore-check]

  --to DIR           a new directory, on another disk; it is DIR.partial until it is whole and durable
  verify DIR         reads the backup and compares every file with the manifest
  --restore-check    also restores it into a directory beside DIR, which is removed again, and counts
  --json             for a program

  Whatever was acknowledged before "holds all before" is in it, and some of what came later. It holds health data, the
  database's password and hashes of credentials: its files are for its owner only, and not encrypted. .env and the
  files of TLS are not in it. Keep a copy of VITAL_DATA_DIR/erasures.jsonl apart: a restore needs the one of today.
  It is for VITAL_DATA_DIR; with DATABASE_URL use your server's own tools (scripts/README.md).
  Exit status: 0; 1 when it failed (nothing is left of it then) or is damaged; 2 for wrong usage.`

const RESTORE_HELP = `Makes a data directory of a backup, recovers its database, counts, and erases again what was
erased since.

  npm run restore -- --from DIR --to DATADIR --erasures data.old/erasures.jsonl

  --from DIR         a backup
  --to DATADIR       the data directory to make (VITAL_DATA_DIR): absent, or empty but for erasures.jsonl
  --erasures FILE    the erasures.jsonl of the old data directory, or your copy of it; may be given several times
  --no-erasures      there is none: what was erased since the backup comes back
  --json             for a program

  What was acknowledged after the backup is not in it: devices have it no more.
  Exit status: 0; 1 when it failed, or rows are missing; 2 for wrong usage.`

/**
 * What `npm run backup` does.
 * @returns the exit status
 * @throws `OPERATOR_USAGE`, `OPERATOR_FAILED`
 */
export async function runBackup ({ args, readConfig, print, tell }: OperatorOptions): Promise<number> {
  const { values, positionals } = parseArguments({
    args: [...args],
    allowPositionals: true,
    options: {
      to: { type: 'string' },
      'restore-check': { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' }
    }
  })
  if (values.help === true) {
    print(BACKUP_HELP)
    return 0
  }
  const { to, json = false, 'restore-check': isChecked = false } = values
  const [verb, directory, ...rest] = positionals
  if (verb === undefined) {
    if (to === undefined) throw new OperatorError('OPERATOR_USAGE', 'say where to: --to DIR')
    if (isChecked) throw new OperatorError('OPERATOR_USAGE', '--restore-check belongs to verify')
    const manifest = await untilSignal((signal) => createBackup({ config: readConfig(), to, tell, signal }))
    print(json ? toPrintableJson(toSummary(manifest)) : toReport(manifest, to).join('\n'))
    return 0
  }
  if (verb !== 'verify' || directory === undefined || rest.length > 0 || to !== undefined) {
    throw new OperatorError('OPERATOR_USAGE', 'it is either --to DIR, or verify DIR')
  }
  return await verify({ directory, isChecked, isJson: json, print })
}

async function verify ({ directory, isChecked, isJson, print }: {
  readonly directory: string, readonly isChecked: boolean, readonly isJson: boolean, readonly print: Print
}): Promise<number> {
  const manifest = await verifyFiles(directory)
  const recovered = isChecked ? await untilSignal((signal) => checkRestore(directory, manifest, signal)) : null
  if (isJson) print(toPrintableJson({ ...toSummary(manifest), recovered }))
  else {
    print([`${directory} is whole`, ...toTable([
      ...toRows(manifest),
      ...recovered === null ? [] : toRecoveredRows(recovered, manifest)
    ])].join('\n'))
  }
  return recovered !== null && recovered.missing > 0 ? 1 : 0
}

/**
 * What `npm run restore` does.
 * @returns the exit status: 1 when rows are missing that were there when the backup began
 * @throws `OPERATOR_USAGE`, `OPERATOR_FAILED`
 */
export async function runRestore ({ args, readConfig, print, tell }: OperatorOptions): Promise<number> {
  const { values } = parseArguments({
    args: [...args],
    options: {
      from: { type: 'string' },
      to: { type: 'string' },
      erasures: { type: 'string', multiple: true },
      'no-erasures': { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' }
    }
  })
  if (values.help === true) {
    print(RESTORE_HELP)
    return 0
  }
  const { from, to, erasures, 'no-erasures': isWithout = false } = values
  if (from === undefined) throw new OperatorError('OPERATOR_USAGE', 'say which backup: --from DIR')
  if (to === undefined) throw new OperatorError('OPERATOR_USAGE', 'say which data directory to make: --to DATADIR')
  if (isWithout && erasures !== undefined) {
    throw new OperatorError('OPERATOR_USAGE',
      'it is either --erasures or --no-erasures')
  }
  const restored = await untilSignal((signal) => restoreBackup({
    config: readConfig(), from, to, erasures: isWithout ? null : erasures ?? [], tell, signal
  }))
  const { manifest, erased, ...counts } = restored
  if (values.json === true) print(toPrintableJson({ ...toSummary(manifest), ...counts, erased }))
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

/** Ends the work, and so lets it clean up, when the terminal or a supervisor ends the script. */
async function untilSignal<T> (work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const abort = () => { controller.abort() }
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  // A second one ends the script at once.
  for (const name of names) process.once(name, abort)
  try {
    return await work(controller.signal)
  } finally {
    for (const name of names) process.off(name, abort)
  }
}

function toSummary (manifest: Omit<Manifest, 'format'>) {
  const { files, directories: _, counts, ...rest } = manifest
  return { ...rest, files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0), counts }
}

function toReport (manifest: Omit<Manifest, 'format'>, to: string): string[] {
  return [`backed up to ${to}`, ...toTable(toRows(manifest))]
}

function toRows (manifest: Omit<Manifest, 'format'>): string[][] {
  const { files, counts, postgres } = manifest
  const spool = files.filter(({ path }) => path.startsWith('spool/')).reduce((sum, { bytes }) => sum + bytes, 0)
  return [
    ['holds all before', manifest.holdsAllBefore, ''],
    ['files', String(files.length), `${toMiB(toBytes(manifest as Manifest))} MiB, of them the spool ${toMiB(spool)}`],
    ['readings', String(sumReadings(counts)), 'when it began'],
    ['latest', String(counts.latest), ''],
    ['dead letters', String(counts.deadLetters), ''],
    ['PostgreSQL', postgres.version, `${postgres.startLsn} to ${postgres.stopLsn}`],
    ['gateway', manifest.gatewayVersion, '']
  ]
}

function toRecoveredRows (recovered: Recovered, manifest: Manifest): string[][] {
  const { readings, latest, deadLetters, spooled, missing } = recovered
  return [
    ['readings restored', String(readings), `${sumReadings(manifest.counts)} when the backup began`],
    ['latest restored', String(latest), `${manifest.counts.latest} then`],
    ['dead letters restored', String(deadLetters), `${manifest.counts.deadLetters} then`],
    ['in the spool', String(spooled), 'some of them stored already'],
    ...missing === 0 ? [] : [['missing', String(missing), 'rows that were there, and that nobody deleted meanwhile']]
  ]
}

export function createCommand (surroundings: CommandSurroundings): Command {
  return createPassThrough('backup', surroundings, runBackup)
}
