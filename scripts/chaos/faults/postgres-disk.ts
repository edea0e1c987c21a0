import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import { mountObstacle } from '../rig/tmpfs.ts'
import { endAccountOfOutage, recover } from './outage.ts'

const CLUSTER_BYTES_MAX = 384 * 1024 * 1024
const AWAY_TIMEOUT_MS = 60_000

/** Fills the file system of `path`. @returns the bytes written */
function fillUp (path: string): number {
  const file = openSync(path, 'w')
  let bytes = 0
  try {
    for (let size = 1024 * 1024; size >= 512;) {
      try {
        bytes += writeSync(file, Buffer.alloc(size))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        size >>= 1
      }
    }
  } finally {
    closeSync(file)
  }
  return bytes
}

export const postgresDiskFull: Fault = {
  name: 'postgres-disk-full',
  summary: 'PostgreSQL\'s disk, a tmpfs, filled up to the last byte: readings go to the spool, none becomes a dead letter; with room ' +
    'again all is replayed',
  database: 'own',
  clusterBytesMax: CLUSTER_BYTES_MAX,
  seconds: { alone: 20, inAll: 10 },
  obstacle: mountObstacle,
  async run (rig) {
    const ballast = join(rig.clusterDir, '..', 'ballast')
    await rig.begin()
    await sleep(1000)
    rig.figures['ballastMiB'] = Math.round(fillUp(ballast) / 2 ** 20)
    const awayMs = await rig.until(async () => !(await rig.scrape()).databaseUp, AWAY_TIMEOUT_MS)
    if (awayMs === null) rig.violate('expected', 'PostgreSQL went on though its disk was full')
    else rig.figures['fullAfterMs'] = Math.round(awayMs)
    const fromMs = Date.now()
    await sleep(rig.options.seconds * 1000)
    const toMs = Date.now()
    rmSync(ballast)
    // PostgreSQL panics when it cannot write its write-ahead log, and may have given up.
    rig.figures['postgresEnded'] = String(await rig.ownPostgres.startAgain())
    await recover(rig)
    await endAccountOfOutage(rig, fromMs, toMs)
  }
}
