import { setTimeout as sleep } from 'node:timers/promises'
import { identifyProcess } from '../../db/embedded/server-process.ts'
import { readKept, runDir } from './postgres.ts'

/** tap runs this after the last test (`after` in .taprc), so that the server is gone when `npm test` returns. */
const kept = await readKept(await runDir(process.ppid))
if (kept !== null) {
  process.kill(kept.keeperPid, 'SIGTERM')
  while (await identifyProcess(kept.keeperPid) !== null) await sleep(50)
}
