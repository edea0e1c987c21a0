import { randomBytes } from 'node:crypto'
import type { Rig } from '../rig/rig.ts'

const SUBSCRIBE_TIMEOUT_MS = 20_000

/** Starts a process of subscribers and waits for every SUBACK. */
export async function startSubscribers (rig: Rig, count: number) {
  const { belongings, program } = rig.options
  const child = belongings.fork(program.subscriber, [String(rig.mqttPort), String(count), `sub-${randomBytes(4).toString('hex')}`])
  rig.watch.otherConnections += count
  let seen = { ready: 0, delivered: 0 }
  child.on('message', (message: typeof seen) => { seen = message })
  if (await rig.until(() => seen.ready === count, SUBSCRIBE_TIMEOUT_MS) === null) {
    throw new Error(`only ${seen.ready} of ${count} subscribers were accepted`)
  }
  return {
    /** PUBLISH packets, all together. */
    delivered: () => seen.delivered,
    freeze: () => { child.kill('SIGSTOP') },
    end: () => { child.kill('SIGKILL') }
  }
}
