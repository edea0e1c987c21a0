import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RowCounts } from '../../../db/embedded/base-backup.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import type { CopiedFile } from './copy.ts'

/** Written last: a directory without it is not a backup. */
export const MANIFEST_FILE = 'manifest.json'
const FORMAT = 1

/** The content of a backup, and how it was taken. */
export interface Manifest {
  readonly format: typeof FORMAT
  /** Of the gateway that took the backup. */
  readonly gatewayVersion: string
  readonly postgres: {
    readonly version: string
    readonly major: number
    readonly startLsn: string
    readonly stopLsn: string
  }
  /** ISO 8601. Every reading that was acknowledged before `holdsAllBefore` is in the backup, and some later ones. */
  readonly begunAt: string
  readonly holdsAllBefore: string
  readonly endedAt: string
  readonly counts: RowCounts
  /** Rows deleted while the backup was taken: that many of `counts` may be missing. */
  readonly deletedMeanwhile: number
  /** Empty ones are needed too. */
  readonly directories: readonly string[]
  readonly files: readonly CopiedFile[]
}

/** With a checksum over the manifest itself. */
export function formatManifest (manifest: Omit<Manifest, 'format'>): string {
  const text = JSON.stringify({ format: FORMAT, ...manifest })
  return `{"sha256":"${toHash(text)}","manifest":${text}}\n`
}

/** @throws `OPERATOR_FAILED` when there is none, or it is damaged, or of another version */
export async function readManifest (directory: string): Promise<Manifest> {
  const path = join(directory, MANIFEST_FILE)
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new OperatorError('OPERATOR_FAILED', cause.code === 'ENOENT'
      ? `${directory} is not a backup: it has no ${MANIFEST_FILE}, which is written last.`
      : `${path} cannot be read: ${cause.message}`, { cause })
  })
  const [, sha256, json] = /^\{"sha256":"([0-9a-f]{64})","manifest":([^]*)\}\n$/.exec(text) ?? []
  if (json === undefined || toHash(json) !== sha256) {
    throw new OperatorError('OPERATOR_FAILED',
      `${path} is damaged: its checksum does not match.`)
  }
  const manifest = JSON.parse(json) as Manifest
  if (manifest.format !== FORMAT) {
    throw new OperatorError('OPERATOR_FAILED',
      `${path} has format ${String(manifest.format)}, this program knows ${FORMAT}. Use the version of the ` +
      'gateway that wrote it.')
  }
  return manifest
}

export function toBytes ({ files }: Manifest): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0)
}

function toHash (text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
