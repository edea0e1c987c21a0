import type { Environment } from '../../schemas/environment.ts'
import { ConfigError } from './config-error.ts'

/** The place of a lake, its consumer group, and the size and age of its files. */
export interface LakeConfig {
  /** `null`: no lake. */
  readonly location: {
    readonly bucket: string
    /** Empty, or with a slash behind it. */
    readonly prefix: string
  } | null
  /** Consumer group of lakes. */
  readonly group: string
  readonly fileBytesMax: number
  readonly ageMsMax: number
}

/**
 * The slice of the configuration for a lake.
 * @throws `ConfigError` for a bad URL
 */
export function toLakeConfig (values: Environment): LakeConfig {
  const { VITAL_LAKE_URL: url, VITAL_LAKE_GROUP: group, VITAL_LAKE_FILE_BYTES: fileBytesMax, VITAL_LAKE_MAX_AGE_S: ageS } = values
  return Object.freeze({ location: url === '' ? null : toLocation(url), group, fileBytesMax, ageMsMax: ageS * 1000 })
}

function toLocation (url: string): NonNullable<LakeConfig['location']> {
  // Names of buckets: 3 to 63 lower-case letters, digits, dots and hyphens.
  const [, bucket, path = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/([\w./=-]*))?$/.exec(url) ?? []
  if (bucket === undefined || path.split('/').some((part) => part === '..' || part === '.') || path.includes('//')) {
    throw new ConfigError('VITAL_LAKE_URL must name a bucket, and may name a prefix, such as s3://vital-lake/readings. An endpoint ' +
      'is named in ' +
      'AWS_ENDPOINT_URL_S3, credentials are not part of it.')
  }
  const prefix = path.replace(/^\/|\/$/g, '')
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` }
}
