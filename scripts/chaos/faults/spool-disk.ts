import { spawnSync } from 'node:child_process'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { acknowledgedWithin } from '../check.ts'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig.ts'

const TMPFS_BYTES = 16 * 1024 * 1024
const STATE_TIMEOUT_MS = 60_000
/** Longer than `VITAL_ACK_TIMEOUT_MS`, so that clients are closed. */
const HELD_MS = 7000

function mountObstacle (): string | null {
  if (process.platform !== 'linux') return 'a tmpfs of limited size needs Linux'
  return process.geteuid?.() === 0 ? null : 'mounting a tmpfs needs root: run it with sudo, or in a user namespace (unshare -rm npm run chaos …)'
}

async function mountSpool (rig: Rig): Promise<string> {
  const spool = join(rig.dataDir, 'spool')
  await mkdir(spool, { recursive: true, mode: 0o700 })
  rig.options.belongings.mountTmpfs(spool, TMPFS_BYTES)
  return spool
}

/** Waits for a readiness. @returns when it came, Unix milliseconds */
async function untilReadiness (rig: Rig, code: 200 | 503, why: string): Promise<number> {
  const tookMs = await rig.until(async () => (await rig.readiness()).code === code, STATE_TIMEOUT_MS)
  if (tookMs === null) rig.violate('expected', `readiness did not become ${code} ${why}`)
  return Date.now()
}

/** C4: nothing that was sent while nothing could be made durable was acknowledged in that time. */
async function endAccountOfFailure (rig: Rig, fromMs: number, toMs: number): Promise<void> {
  const ledger = await rig.endAccount()
  const { sent } = acknowledgedWithin(ledger, fromMs, toMs)
  rig.figures['sentWhileUnable'] = sent.length
  const early = sent.filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== null && acknowledgedAtMs < toMs)
  if (early.length > 0) rig.violate('C4', `${early.length} readings were sent and acknowledged while nothing could be made durable`)
  if (sent.length === 0) rig.violate('expected', 'nothing was sent while nothing could be made durable')
}

export const spoolDiskFull: Fault = {
  name: 'spool-disk-full',
  summary: 'PostgreSQL stopped, the spool on a tmpfs of 16 MiB: reading stops, readiness 503, a restart in that state, all resumes',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 0,
  secondsInAll: 0,
  load: { blobBytes: 6000, ratePerS: 800, window: 20 },
  obstacle: mountObstacle,
  async run (rig) {
    const spool = await mountSpool(rig)
    try {
      await rig.startGateway()
      await rig.beginAccount()
      await sleep(1000)
      await rig.ownPostgres.stop('SIGQUIT')
      await untilReadiness(rig, 503, 'when the disk of the spool was full')
      if (!(await rig.scrape()).readingStopped) rig.violate('expected', 'reading goes on though the disk of the spool is full')
      await sleep(HELD_MS)
      rig.figures['disconnectsWhileFull'] = (await rig.publisher.figures()).disconnects
      // No fault on disk may need a person before devices are served again.
      await rig.killGateway()
      await rig.startGateway()
      await sleep(2000)
      const startMs = performance.now()
      await rig.ownPostgres.start()
      await untilReadiness(rig, 200, 'when PostgreSQL was back')
      rig.recovered(performance.now() - startMs)
      await rig.endAccount()
    } finally {
      await rig.endProcesses()
      rig.options.belongings.unmount(spool)
    }
    await rig.startGateway()
    rig.cycleDone()
  }
}

export const unwritableSpool: Fault = {
  name: 'unwritable-spool',
  summary: 'the spool becomes read-only, then PostgreSQL stops: nothing is acknowledged; then each comes back',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 0,
  secondsInAll: 0,
  obstacle: () => process.geteuid?.() === 0 ? mountObstacle() : null,
  async run (rig) {
    const isRoot = process.geteuid?.() === 0
    // Root may write where nobody may; a read-only file system holds for root too.
    const spool = isRoot ? await mountSpool(rig) : join(rig.dataDir, 'spool')
    const setWritable = async (isWritable: boolean) => {
      if (!isRoot) return await chmod(spool, isWritable ? 0o700 : 0o500)
      const { status, stderr } = spawnSync('mount', ['-o', `remount,${isWritable ? 'rw' : 'ro'}`, spool], { encoding: 'utf8' })
      if (status !== 0) throw new Error(`mount -o remount: ${stderr}`)
    }
    try {
      await rig.startGateway()
      await rig.beginAccount()
      await sleep(1000)
      await setWritable(false)
      await sleep(1000)
      await rig.ownPostgres.stop('SIGQUIT')
      const fromMs = Date.now()
      await untilReadiness(rig, 503, 'when neither PostgreSQL nor the spool could be written')
      await sleep(HELD_MS)
      const toMs = Date.now()
      const startMs = performance.now()
      await setWritable(true)
      await untilReadiness(rig, 200, 'when the spool could be written again')
      rig.recovered(performance.now() - startMs)
      await sleep(1000)
      await rig.ownPostgres.start()
      await endAccountOfFailure(rig, fromMs, toMs)
    } finally {
      await rig.endProcesses()
      rig.options.belongings.unmount(spool)
    }
    await rig.startGateway()
    rig.cycleDone()
  }
}

export const fsyncFails: Fault = {
  name: 'fsync-fails',
  summary: 'each fdatasync of the spool from the N-th on fails with EIO, PostgreSQL stopped: acknowledgements stop, clean restart',
  database: 'own',
  cycles: 3,
  cyclesInAll: 2,
  seconds: 0,
  secondsInAll: 0,
  async run (rig) {
    const path = join(rig.options.dir, 'failed-at')
    await rig.startGateway()
    for (let cycle = 1; cycle <= rig.options.cycles; cycle++) {
      await rig.killGateway()
      await rig.startGateway({ injection: { syncFails: { from: Math.floor(rig.between(1, 30)), path: `${path}-${cycle}` } } })
      await rig.beginAccount()
      await sleep(500)
      await rig.ownPostgres.stop('SIGQUIT')
      await untilReadiness(rig, 503, 'when fdatasync failed')
      await sleep(HELD_MS)
      const fromMs = Number(await readFile(`${path}-${cycle}`, 'utf8'))
      const toMs = Date.now()
      await rig.killGateway()
      await rig.ownPostgres.start()
      await rig.startGateway({ isCounted: true })
      await endAccountOfFailure(rig, fromMs, toMs)
      rig.cycleDone()
    }
  }
}

export const fsyncFailsStrace: Fault = {
  name: 'fsync-fails-strace',
  summary: 'the same by strace, in the kernel\'s place',
  database: 'own',
  cycles: 1,
  cyclesInAll: 1,
  seconds: 0,
  secondsInAll: 0,
  obstacle () {
    return spawnSync('strace', ['-V']).status === 0 ? null : 'strace is missing: apt install strace'
  },
  async run (rig) {
    // With -D strace is the grandchild, so that the process that is started, watched and killed is the gateway.
    const wrapper = ['strace', '-D', '-f', '-qqq', '-o', '/dev/null', '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO:when=8+']
    await rig.startGateway({ wrapper, env: { UV_THREADPOOL_SIZE: '1' } })
    await rig.beginAccount({ ratePerS: 300 })
    await sleep(1000)
    await rig.ownPostgres.stop('SIGQUIT')
    // The gateway notices by itself when the first fdatasync fails; from its readiness on nothing may pass.
    const fromMs = await untilReadiness(rig, 503, 'when fdatasync failed')
    await sleep(HELD_MS)
    const toMs = Date.now()
    await rig.killGateway()
    await rig.ownPostgres.start()
    await rig.startGateway({ isCounted: true })
    await endAccountOfFailure(rig, fromMs, toMs)
    rig.cycleDone()
  }
}
