import packageJson from '../../../package.json' with { type: 'json' }
import { ConfigError } from '../../config/config-error.ts'
import type { LatestCache, LatestCacheOptions } from './latest-cache.ts'

/** Makes the copy of the latest states in Redis. */
export type CreateLatestCache = (options: Omit<LatestCacheOptions, 'url'>) => LatestCache

/**
 * Loads the copy together with Redis' client, which is loaded nowhere else in this room.
 * @param url - of Redis; `null`: no copy
 * @returns `null` without a copy
 * @throws `ConfigError` where Redis' client is not installed
 */
export async function loadLatestCache (url: string | null): Promise<CreateLatestCache | null> {
  if (url === null) return null
  try {
    const { createLatestCache } = await import('./latest-cache.ts')
    return (options) => createLatestCache({ ...options, url })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError('VITAL_LATEST_CACHE=redis needs a package that is not installed: npm install ' +
      `ioredis@${packageJson.peerDependencies.ioredis}`, { cause: error })
  }
}
