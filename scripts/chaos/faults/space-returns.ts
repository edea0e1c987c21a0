import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import { mountObstacle } from '../rig/tmpfs.ts'
import { leaveSpool, mountSpool, untilReadiness } from './spool-disk.ts'

const CHUNK = Buffer.alloc(64 * 1024)
/** The gateway tries its disk at least every 5 s. */
const RETURN_MS_MAX = 15_000

/** Writes until the file system is full. */
async function fill (path: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (;;) await file.write(CHUNK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    await file.close()
  }
}

export const spaceReturns: Fault = {
  name: 'space-returns',
  summary: 'a start without PostgreSQL, the disk of the spool filled by another, then freed: acknowledges again before PostgreSQL is back',
  database: 'own',
  load: { ratePerS: 300, window: 20 },
  obstacle: mountObstacle,
  async run (rig) {
    const spool = await mountSpool(rig)
    try {
      // Learns whether credentials exist, and remembers it.
      await rig.startGateway()
      await rig.stopGateway()
      await rig.ownPostgres.stop('SIGQUIT')
      await rig.startGateway()
      await rig.beginAccount()
      await sleep(1000)
      const filler = join(spool, 'filler')
      await fill(filler)
      await untilReadiness(rig, 503, 'when the disk of the spool was full')
      await rm(filler)
      const freedMs = Date.now()
      const readyMs = await untilReadiness(rig, 200, 'when the disk of the spool had room again, and PostgreSQL was away')
      rig.verdict('from room on the disk to ready', readyMs - freedMs, RETURN_MS_MAX, 'ms')
      const { acknowledged } = await rig.publisher.figures()
      await sleep(3000)
      const { acknowledged: later } = await rig.publisher.figures()
      rig.figures['acknowledgedWithoutPostgres'] = later - acknowledged
      if (later === acknowledged) rig.violate('C6', 'nothing is acknowledged though the spool has room')
      await rig.ownPostgres.start()
      await rig.endAccount()
    } finally {
      await leaveSpool(rig, spool)
    }
    await rig.startGateway()
  }
}
