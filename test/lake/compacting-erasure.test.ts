/** Joining files of a lake during an erasure, in any order of their steps. */
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { LAKE_LIMITS } from '../../src/lake/limits.ts'
import { createRandom } from '../helpers/random.ts'
import { NO_STORE } from '../helpers/seaweedfs.ts'
import { killAt, Killed, startFiles, type Step } from './compacting-rig.ts'
import { createLakeRig } from './rig.ts'

const {
  VITAL_TEST_SEED: SEED = String(Date.now() % 1e6), VITAL_TEST_LAKE_ORDERS: ORDERS = '5', VITAL_TEST_LAKE_STRIDE: STRIDE = '2'
} = process.env
/** The files of `startFiles`, once a device is erased. */
const DEVICES = [['a', 30, 30], ['b', 30, 30], ['c', 20, 20]]

if (NO_STORE !== false) t.pass(`left out: ${NO_STORE}`, { skip: NO_STORE })
else {
  const { createPlace } = await createLakeRig(t)
  const start = async (t: Test) => await startFiles(t, await createPlace(t))

  t.test('a complete erasure at every second step of a compaction, and the reverse', { timeout: 600_000 }, async (t) => {
    for (const isOuter of [true, false]) {
      for (let number = Number(isOuter); ; number += Number(STRIDE)) {
        const { files } = await start(t)
        let [steps, isMet] = [0, false]
        const inner: Step = async ({ isAnswered }) => {
          if (isAnswered || steps++ !== number) return
          isMet = true
          if (isOuter) await files.erase('gone')
          else await files.compact()
        }
        if (isOuter) await files.compact(inner)
        else await files.erase('gone', inner)
        if (!isMet) break
        t.same((await files.devices()).map(([device]) => device), ['a', 'b', 'c'], `${isOuter ? 'compaction' : 'erasure'}, step ${number}`)
        await files.compact()
        await files.compact()
        t.same(await files.devices(), DEVICES)
      }
    }
  })

  t.test(`two compactions and an erasure in ${ORDERS} random orders, one killed`, { timeout: 600_000 }, async (t) => {
    t.comment(`seed ${SEED}`)
    for (let order = 0; order < Number(ORDERS); order++) {
      const random = createRandom(Number(SEED) + order)
      const { files } = await start(t)
      const { step } = killAt(Math.floor(random() * 60))
      const waiting: Array<() => void> = []
      let running = 3
      const proceed = () => { if (waiting.length === running) waiting.splice(Math.floor(random() * waiting.length), 1)[0]?.() }
      const inTurn = (before: Step = async () => {}): Step => async (request) => {
        if (!request.isAnswered) {
          await new Promise<void>((resolve) => {
            waiting.push(resolve)
            proceed()
          })
        }
        await before(request)
      }
      const ended = async () => {
        running--
        await turn()
        proceed()
      }
      await Promise.all([
        files.compact(inTurn(), { limits: { ...LAKE_LIMITS, emptyAgeMs: 0, joinedFilesMax: 3 } }).finally(ended),
        files.compact(inTurn(step)).catch((error: unknown) => { if (!(error instanceof Killed)) throw error }).finally(ended),
        files.erase('gone', inTurn()).finally(ended)
      ])
      t.same((await files.devices()).map(([device]) => device), ['a', 'b', 'c'], `order ${order}`)
      await files.compact()
      await files.compact()
      t.same(await files.devices(), DEVICES, `order ${order}: then`)
    }
  })
}
