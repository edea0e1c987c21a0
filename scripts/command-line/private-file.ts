import { type FileHandle, open, readFile, stat, unlink } from 'node:fs/promises'
import { OperatorError, usageError } from './operator-error.ts'

/** The largest file that may hold one secret; a JWT is some KiB. */
const SECRET_BYTES_MAX = 64 * 1024

/**
 * Writes a file that only its owner may read, durably. Never over another: it may hold the only copy of secrets.
 * @returns removes it again
 * @throws `OPERATOR_USAGE` when there is one already, `OPERATOR_FAILED` when it cannot be written
 */
export async function writePrivateFile (path: string, text: string): Promise<() => Promise<void>> {
  let file: FileHandle
  try {
    file = await open(path, 'wx', 0o600)
  } catch (cause) {
    throw toWriteError(path, cause)
  }
  const remove = () => unlink(path).catch(() => {})
  try {
    await file.writeFile(text)
    await file.sync()
  } catch (cause) {
    await remove()
    throw toWriteError(path, cause)
  } finally {
    await file.close()
  }
  return remove
}

/** @throws `OPERATOR_USAGE` when there is something at `path` */
export async function assertNoFile (path: string): Promise<void> {
  const isThere = await stat(path).then(() => true, () => false)
  if (isThere) throw toExistsError(path)
}

/**
 * Reads a file that holds one secret; a line end after it does not belong to it.
 * @param option - that named the file, for messages
 * @param tell - called with a warning when others may read the file
 * @throws `OPERATOR_USAGE`
 */
export async function readSecretFile (option: string, path: string, tell: (text: string) => void): Promise<string> {
  let text: string
  try {
    const { mode, size } = await stat(path)
    if (size > SECRET_BYTES_MAX) throw usageError(`--${option} ${path} holds ${size} bytes, which is not a secret`)
    text = await readFile(path, 'utf8')
    if ((mode & 0o077) !== 0) tell(`${path} can be read by others on this machine: chmod 600 ${path}`)
  } catch (cause) {
    if (cause instanceof OperatorError) throw cause
    throw usageError(`--${option} ${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
  const secret = text.replace(/\r?\n$/, '')
  if (secret === '' || /[\r\n]/.test(secret)) throw usageError(`--${option} ${path} must hold one secret on one line`)
  return secret
}

function toWriteError (path: string, cause: unknown): OperatorError {
  const { code, message } = cause as NodeJS.ErrnoException
  return code === 'EEXIST' ? toExistsError(path) : new OperatorError('OPERATOR_FAILED', `${path} cannot be written: ${message}`, { cause })
}

function toExistsError (path: string): OperatorError {
  return usageError(`${path} exists already, and may hold secrets that are nowhere else: name another file with --out`)
}
