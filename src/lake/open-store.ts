import { ConfigError } from '../config/config-error.ts'
import type { LakeConfig } from '../config/lake-config.ts'
import type { LakeLimits } from './limits.ts'
import { loadS3 } from './load-packages.ts'
import { createObjectStore, isStoreError, type ObjectStore, toStoreMessage } from './object-store.ts'

/**
 * Opens the store and checks that it enforces conditions.
 * @throws `ConfigError` if it does not, or does not answer
 */
export async function openStore (
  location: NonNullable<LakeConfig['location']>, limits: LakeLimits, signal: AbortSignal
): Promise<ObjectStore> {
  const store = await createObjectStore({ library: await loadS3(), location, limits, signal })
  try {
    await store.check()
    return store
  } catch (error) {
    store.close()
    if (!isStoreError(error)) throw error
    throw new ConfigError(`The store of VITAL_LAKE_URL cannot be used: ${toStoreMessage(error)}`, { cause: error })
  }
}
