import { spawnSync } from 'node:child_process'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { Rig } from '../rig/rig.ts'
import { Span } from '../../harness/checks/span.ts'
import { mountObstacle } from '../rig/tmpfs.ts'

const TMPFS_BYTES = 16 * 1024 * 1024
/** Room for a new segment's header and for no batch: a larger limit would only make segments short. */
const FILE_BYTES_MAX = 1024
const STATE_TIMEOUT_MS = 60_000
/** Longer than `VITAL_ACK_TIMEOUT_MS`, so that clients are closed. */
export const HELD_MS = 7000

export async function mountSpool (rig: Rig): Promise<string> {
  const spool = join(rig.dataDir, 'spool')
  await mkdir(spool, { recursive: true, mode: 0o700 })
  rig.options.belongings.mountTmpfs(spool, TMPFS_BYTES)
  return spool
}

/** Nothing may write there any more when it is unmounted. */
export async function leaveSpool (rig: Rig, spool: string): Promise<void> {
  await rig.endProcesses()
  rig.options.belongings.unmount(spool)
}

/** Waits for a readiness. @returns when it came, Unix milliseconds */
export async function untilReadiness (rig: Rig, code: 200 | 503, why: string): Promise<number> {
  const tookMs = await rig.until(async () => (await rig.readiness()).code === code, STATE_TIMEOUT_MS)
  if (tookMs === null) rig.violate('expected', `readiness did not become ${code} ${why}`)
  return Date.now()
}

/** The spool of a rig, on a file system that can be made read-only: file modes do not bind root. */
export async function holdSpool (rig: Rig) {
  const isRoot = process.geteuid?.() === 0
  const spool = isRoot ? await mountSpool(rig) : join(rig.dataDir, 'spool')
  return {
    async setWritable (isWritable: boolean): Promise<void> {
      if (!isRoot) return await chmod(spool, isWritable ? 0o700 : 0o500)
      const { status, stderr } = spawnSync('mount', ['-o', `remount,${isWritable ? 'rw' : 'ro'}`, spool], { encoding: 'utf8' })
      if (status !== 0) throw new Error(`mount -o remount: ${stderr}`)
    },
    leave: () => leaveSpool(rig, spool)
  }
}

/** @returns why a spool cannot be made read-only here, or `null` */
export const holdSpoolObstacle = (): string | null => process.geteuid?.() === 0 ? mountObstacle() : null

/** C4: no reading that was sent while nothing could be made durable was acknowledged in that time. */
async function endAccountOfFailure (rig: Rig, fromMs: number, toMs: number): Promise<void> {
  const span = new Span(fromMs, toMs)
  await rig.endAccount({ measures: [span] })
  const { sent, acknowledgedInSpan } = span.figures()
  rig.figures['sentWhileUnable'] = sent
  if (acknowledgedInSpan > 0) {
    rig.violate('C4',
    `${acknowledgedInSpan} readings were sent and acknowledged while nothing could be made durable`)
  }
  if (sent === 0) rig.violate('expected', 'nothing was sent while nothing could be made durable')
}

export const spoolDiskFull: Fault = {
  name: 'spool-disk-full',
  summary: 'PostgreSQL stopped, the spool on a tmpfs of 16 MiB: reading stops, readiness 503, a restart in that state, all resumes',
  database: 'own',
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
      if (!(await rig.scrape()).readingStopped) rig.violate('expected', 'reading continues though the disk of the spool is full')
      await sleep(HELD_MS)
      rig.figures['disconnectsWhileFull'] = (await rig.publisher.figures()).disconnects
      // No fault on disk may need a person before devices are served again.
      await rig.killGateway()
      await rig.startGateway({ isUnready: true })
      await untilReadiness(rig, 503, 'after a restart on the full disk')
      await sleep(2000)
      const startMs = performance.now()
      await rig.ownPostgres.start()
      await untilReadiness(rig, 200, 'when PostgreSQL was back')
      rig.recovered(performance.now() - startMs)
      await rig.endAccount()
    } finally {
      await leaveSpool(rig, spool)
    }
    await rig.startGateway()
  }
}

/** Limits the size of files that a running process writes. @throws Error with the message of prlimit */
function limitFileSize (pid: number, bytes: number | 'unlimited'): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`prlimit: ${stderr.trim()}`)
}

export const spoolFileLimit: Fault = {
  name: 'spool-file-limit',
  summary: 'PostgreSQL stopped, RLIMIT_FSIZE of the gateway lowered to nearly nothing, also for its log: nothing is acknowledged; ' +
    'raised again, all resumes',
  database: 'own',
  // So that no batch fits into the limit.
  load: { blobBytes: 2000 },
  obstacle () {
    if (process.platform !== 'linux') return 'prlimit needs Linux'
    return spawnSync('prlimit', ['--version']).status === 0 ? null : 'prlimit is missing: install util-linux'
  },
  async run (rig) {
    await rig.begin()
    await sleep(1000)
    await rig.ownPostgres.stop('SIGQUIT')
    await rig.until(async () => (await rig.scrape()).spoolReadings > 0, STATE_TIMEOUT_MS)
    limitFileSize(rig.gateway.pid, FILE_BYTES_MAX)
    const fromMs = await untilReadiness(rig, 503, 'when no file of the spool could grow')
    await sleep(HELD_MS)
    const toMs = Date.now()
    const startMs = performance.now()
    limitFileSize(rig.gateway.pid, 'unlimited')
    await untilReadiness(rig, 200, 'when files could grow again')
    rig.recovered(performance.now() - startMs)
    await sleep(1000)
    await rig.ownPostgres.start()
    await endAccountOfFailure(rig, fromMs, toMs)
  }
}

export const unwritableSpool: Fault = {
  name: 'unwritable-spool',
  summary: 'the spool becomes read-only, then PostgreSQL stops: nothing is acknowledged; then each comes back',
  database: 'own',
  obstacle: holdSpoolObstacle,
  async run (rig) {
    const { setWritable, leave } = await holdSpool(rig)
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
      await leave()
    }
    await rig.startGateway()
  }
}

/** Checks a gateway whose disk has failed; then a new one, on a working disk, must store the rest. */
async function judgeFailure (rig: Rig, toFromMs: () => Promise<number> | number): Promise<void> {
  await sleep(HELD_MS)
  const fromMs = await toFromMs()
  const toMs = Date.now()
  await rig.killGateway()
  await rig.ownPostgres.start()
  await rig.startGateway({ isCounted: true })
  await endAccountOfFailure(rig, fromMs, toMs)
}

export const fsyncFails: Fault = {
  name: 'fsync-fails',
  summary: 'each fdatasync of the spool from the N-th on fails with EIO, PostgreSQL stopped: acknowledgements stop, clean restart',
  database: 'own',
  cycles: { alone: 3, inAll: 2 },
  async run (rig) {
    await rig.startGateway()
    await rig.repeat(async (cycle) => {
      const path = join(rig.options.dir, `failed-at-${cycle}`)
      await rig.killGateway()
      await rig.startGateway({ injection: { syncFails: { from: Math.floor(rig.between(1, 30)), path } } })
      await rig.beginAccount()
      await sleep(500)
      await rig.ownPostgres.stop('SIGQUIT')
      await untilReadiness(rig, 503, 'when fdatasync failed')
      await judgeFailure(rig, async () => Number(await readFile(path, 'utf8')))
    })
  }
}

export const fsyncFailsStrace: Fault = {
  name: 'fsync-fails-strace',
  summary: 'the same, with the faults injected by strace into the system call',
  database: 'own',
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
    // The gateway notices when the first fdatasync fails; once readiness says so, nothing may be acknowledged.
    const fromMs = await untilReadiness(rig, 503, 'when fdatasync failed')
    await judgeFailure(rig, () => fromMs)
  }
}
