/** SeaweedFS as tests and chaos start it: S3 on loopback with one bucket, on disk. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const BUCKET = 'vital-lake'
const ACCESS_KEY = 'lake'
const SECRET_KEY = 'a-secret-of-this-run'
const REGION = 'us-east-1'
const ANSWER_TIMEOUT_MS = 2000

export interface StoreSettings {
  /** Arguments of the program. */
  readonly args: readonly string[]
  /** Variables with which programs find the store, as those of AWS do. */
  readonly variables: Readonly<Record<string, string>>
  readonly bucket: string
}

/** @param dir - for the data and the configuration of the store */
export async function prepareStore (dir: string, findPort: () => Promise<number>): Promise<StoreSettings> {
  const config = join(dir, 's3.json')
  await writeFile(config, JSON.stringify({
    identities: [{
      name: 'lake', credentials: [{ accessKey: ACCESS_KEY, secretKey: SECRET_KEY }], actions: ['Admin', 'Read', 'Write', 'List']
    }]
  }))
  const s3 = await findPort()
  // Without these each part opens another port, 10,000 above its own.
  const parts = []
  for (const part of ['master', 'volume', 'filer', 's3']) parts.push(`-${part}.port.grpc=${await findPort()}`)
  for (const part of ['master', 'volume', 'filer']) parts.push(`-${part}.port=${await findPort()}`)
  return {
    args: [
      'server', `-dir=${dir}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-filer', '-s3', `-s3.port=${s3}`,
      `-s3.config=${config}`, ...parts, '-s3.port.iceberg=0', '-s3.port.lance=0', '-volume.max=20',
      '-master.volumeSizeLimitMB=100', '-master.telemetry=false'
    ],
    variables: {
      AWS_ACCESS_KEY_ID: ACCESS_KEY,
      AWS_SECRET_ACCESS_KEY: SECRET_KEY,
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${s3}`,
      AWS_REGION: REGION
    },
    bucket: BUCKET
  }
}

/** A client of the store that tries once. @param settings - of {@link prepareStore} */
export async function connectStore ({ variables }: Pick<StoreSettings, 'variables'>) {
  const library = await import('@aws-sdk/client-s3')
  const client = new library.S3Client({
    endpoint: variables['AWS_ENDPOINT_URL_S3']!,
    region: REGION,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY }
  })
  return { library, client }
}

/** @returns whether the store has the bucket, made now or before */
export async function makeBucket (settings: StoreSettings): Promise<boolean> {
  const { library, client } = await connectStore(settings)
  try {
    await client.send(new library.CreateBucketCommand({ Bucket: settings.bucket }), {
      abortSignal: AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    })
    return true
  } catch (error) {
    return (error as Error).name === 'BucketAlreadyOwnedByYou'
  } finally {
    client.destroy()
  }
}
