import { readdir, readFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import { type Failpoint, FAILPOINTS } from '../rig/injection.ts'
import type { Rig } from '../rig/rig.ts'

const DEATH_TIMEOUT_MS = 20_000
/** Failpoints on the way to an acknowledgement are passed with each batch; replay takes many batches in one step. */
const PASS_MAX = 12

/** Ends the gateway, and lets the next one kill itself at `at`. */
export async function dieAt (rig: Rig, at: Failpoint): Promise<void> {
  await rig.killGateway()
  const pass = Math.floor(rig.between(1, PASS_MAX))
  if (at.startsWith('replay')) {
    await rig.startGateway({ injection: { isDatabaseAway: true } })
    await sleep(rig.between(500, 1500))
    await rig.killGateway()
    await rig.startGateway({ injection: { failpoint: { at, pass: 1 } }, isUnready: true })
  } else {
    await rig.startGateway({ injection: { failpoint: { at, pass }, isDatabaseAway: at !== 'after-commit' }, isUnready: true })
  }
  await rig.awaitDeath(DEATH_TIMEOUT_MS, at)
}

/** Ends the gateway, lets the next one fill its spool for a while, and takes its power away. */
export async function losePower (rig: Rig): Promise<void> {
  const durablePath = join(rig.options.dir, 'durable.json')
  await rig.killGateway()
  await rig.startGateway({ injection: { isDatabaseAway: true, durablePath } })
  await sleep(rig.between(300, 2000))
  await rig.killGateway()
  await cutTails(rig, durablePath)
}

export const killAtFailpoint: Fault = {
  name: 'kill-at-failpoint',
  summary: `the gateway kills itself at a chosen point: ${FAILPOINTS.join(', ')}`,
  database: 'embedded',
  cycles: { alone: 12, inAll: 6 },
  async run (rig) {
    await rig.startGateway()
    await rig.repeat(async (cycle) => {
      await rig.beginAccount()
      await sleep(200)
      await dieAt(rig, FAILPOINTS[(cycle - 1) % FAILPOINTS.length]!)
      await rig.startGateway({ isCounted: true })
      await rig.endAccount()
    })
  }
}

export const powerLoss: Fault = {
  name: 'power-loss',
  summary: 'SIGKILL while readings go to the spool, then its files lose all bytes that no fdatasync had confirmed',
  database: 'embedded',
  cycles: { alone: 10, inAll: 4 },
  async run (rig) {
    await rig.begin()
    await rig.repeat(() => losePower(rig))
    await rig.startGateway({ isCounted: true })
    await rig.endAccount()
  }
}

/** Cuts what a power failure takes: bytes that were written and never confirmed. */
async function cutTails (rig: Rig, durablePath: string): Promise<void> {
  const durable = JSON.parse(await readFile(durablePath, 'utf8')) as Record<string, number>
  const directory = join(rig.dataDir, 'spool')
  for (const name of await readdir(directory)) {
    const bytes = durable[name]
    if (bytes === undefined) continue
    const { size } = await stat(join(directory, name))
    if (size <= bytes) continue
    await truncate(join(directory, name), bytes)
    rig.count('bytesCut', size - bytes)
  }
}
