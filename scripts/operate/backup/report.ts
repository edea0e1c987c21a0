import { sumReadings } from '../../../db/embedded/base-backup.ts'
import type { Recovered } from './lay-out.ts'
import { type Manifest, toBytes } from './manifest.ts'
import { toMiB } from './space.ts'

/** A manifest without its list of files, for a program. */
export function toSummary (manifest: Omit<Manifest, 'format'>) {
  const { files, directories: _, counts, ...rest } = manifest
  return { ...rest, files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0), counts }
}

/** A manifest as rows of a table. */
export function toRows (manifest: Omit<Manifest, 'format'>): string[][] {
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

/** A recovered backup as rows of a table. */
export function toRecoveredRows (recovered: Recovered, manifest: Manifest): string[][] {
  const { readings, latest, deadLetters, spooled, missing } = recovered
  return [
    ['readings restored', String(readings), `${sumReadings(manifest.counts)} when the backup began`],
    ['latest restored', String(latest), `${manifest.counts.latest} then`],
    ['dead letters restored', String(deadLetters), `${manifest.counts.deadLetters} then`],
    ['in the spool', String(spooled), 'some of them stored already'],
    ...missing === 0 ? [] : [['missing', String(missing), 'rows that were there, and were not deleted meanwhile']]
  ]
}
