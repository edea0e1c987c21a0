import { mkdtemp, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { OperatorError } from '../../command-line/operator-error.ts'
import type { ProgressStream } from '../../command-line/surroundings.ts'
import { createByteProgress } from './byte-progress.ts'
import { hashFile } from './copy.ts'
import { layOut, recover, type Recovered } from './lay-out.ts'
import { type Manifest, readManifest, toBytes } from './manifest.ts'
import { assertSpace } from './space.ts'

/**
 * Reads a backup whole, and compares it with its manifest.
 * @throws `OPERATOR_FAILED`, naming every file that is missing or differs
 */
export async function verifyFiles (directory: string, stream: ProgressStream): Promise<Manifest> {
  const manifest = await readManifest(directory)
  const progress = createByteProgress('verify', toBytes(manifest), stream)
  const faults: string[] = []
  try {
    for (const { path, bytes, sha256 } of manifest.files) {
      const file = await hashFile(join(directory, path), progress.add)
      if (file === null) faults.push(`${path} is missing`)
      else if (file.bytes !== bytes) faults.push(`${path} has ${file.bytes} bytes, and had ${bytes}`)
      else if (file.sha256 !== sha256) faults.push(`${path} differs from its checksum`)
    }
  } finally {
    progress.stop()
  }
  if (faults.length > 0) {
    throw new OperatorError('OPERATOR_FAILED',
      `${directory} is damaged:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
  }
  return manifest
}

/**
 * Restores a backup into a temporary directory beside it, and counts the rows.
 * @throws `OPERATOR_FAILED`
 */
export async function checkRestore ({ directory, manifest, progress, signal }: {
  readonly directory: string
  readonly manifest: Manifest
  readonly progress: ProgressStream
  readonly signal: AbortSignal
}): Promise<Recovered> {
  const from = resolve(directory)
  await assertSpace(dirname(from), toBytes(manifest))
  const dataDir = await mkdtemp(join(dirname(from), `${basename(from)}.check-`))
  try {
    await layOut({ from, manifest, dataDir, progress, signal })
    return await recover(dataDir, manifest)
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}
