import { createHmac, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '../process/make-directory.ts'

/** 64 bits of the hash: enough to tell the devices of a site apart. */
const HASH_HEX_DIGITS = 16

/**
 * Hashes that replace client and device ids in the log. They are keyed because ids can be guessed: without the key a
 * reader of the log cannot test guesses. The key lies in `log-key` of the data directory (0600), so that a device has
 * one name over all runs, and the operator can compute it.
 * @throws when the key can neither be read nor written
 */
export function createIdHash (dataDir: string): (id: string) => string {
  const key = Buffer.from(readKey(dataDir), 'hex')
  return (id) => createHmac('sha256', key).update(id).digest('hex').slice(0, HASH_HEX_DIGITS)
}

function readKey (dataDir: string): string {
  const path = join(dataDir, 'log-key')
  makeDirectory(dataDir)
  try {
    // Fails when it is there: two gateways that start at once agree on one.
    writeFileSync(path, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const key = readFileSync(path, 'utf8').trim()
  if (!/^[0-9a-f]{64}$/.test(key)) {
    throw new Error(`${path} holds no key of 64 hexadecimal digits; delete it to have a new one made`)
  }
  return key
}
