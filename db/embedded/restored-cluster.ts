import { join } from 'node:path'
import type { Logger } from 'pino'
import { StorageError } from '../storage-error.ts'
import { chooseAccount, giveTo } from './account.ts'
import { resolveBinaries } from './binaries.ts'
import { clusterDirOf } from './cluster.ts'

/**
 * Gives the restored files in `dataDir/postgres` to the account that the server will run as.
 * @param major - of the PostgreSQL that wrote them
 * @throws `VITAL_EMBEDDED_WRONG_VERSION`, `VITAL_EMBEDDED_ROOT_REFUSED`, `VITAL_EMBEDDED_UNSUPPORTED_PLATFORM`
 */
export async function adoptFiles (options: { dataDir: string, major: number, logger: Logger }): Promise<void> {
  const { dataDir, major, logger } = options
  const clusterDir = clusterDirOf(dataDir)
  const binaries = await resolveBinaries({ linksDir: join(dataDir, 'postgres-lib') })
  const chosen = await chooseAccount({ binaries, dataDir, clusterDir, logger })
  if (chosen.major !== major) {
    throw new StorageError('VITAL_EMBEDDED_WRONG_VERSION',
      `The backup is of PostgreSQL ${major}, this program brings PostgreSQL ${chosen.major}. ` +
      'Restore it with the version of the gateway that took it.')
  }
  await giveTo(chosen.account, clusterDir)
}
