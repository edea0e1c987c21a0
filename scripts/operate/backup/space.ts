import { statfs } from 'node:fs/promises'
import { OperatorError } from '../../command-line/operator-error.ts'

const MIB = 1024 * 1024

/** @throws `OPERATOR_FAILED` when the file system of `directory` has less than `bytes` free */
export async function assertSpace (directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  const free = bavail * bsize
  if (free >= bytes) return
  throw new OperatorError('OPERATOR_FAILED',
    `${directory} has ${toMiB(free)} MiB free, and ${toMiB(bytes)} are needed. Nothing was written.`)
}

/** Rounded up. */
export function toMiB (bytes: number): number {
  return Math.ceil(bytes / MIB)
}
