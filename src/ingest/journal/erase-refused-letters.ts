import { open, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { DeadLetterRow } from '../../../db/rows.ts'
import { isOf } from './without-erased.ts'

/**
 * Removes the letters of a device, and those whose payload names it, from the file of refused letters. The caller must
 * prevent appends meanwhile.
 * @throws the error of the file system
 */
export async function eraseRefusedLetters (path: string, device: string): Promise<void> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (file === null) return
  const rewritten = `${path}.new`
  const output = await open(rewritten, 'w', 0o600)
  let removed = 0
  try {
    // readLines closes the file when it ends.
    for await (const line of file.readLines()) {
      if (isLineOf(line, device)) removed++
      else await output.write(`${line}\n`)
    }
    await output.sync()
  } finally {
    await output.close()
  }
  if (removed === 0) return await unlink(rewritten)
  await rename(rewritten, path)
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function isLineOf (line: string, device: string): boolean {
  try {
    const letter = JSON.parse(line) as Omit<DeadLetterRow, 'payload'> & { payload: string }
    return isOf({ ...letter, payload: Buffer.from(letter.payload, 'base64') }, device)
  } catch {
    // A crash cut this line short.
    return line.includes(JSON.stringify(device))
  }
}
