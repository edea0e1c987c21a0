import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { DeviceOrder } from '../../../src/reads/latest-order/device-order.ts'
import { createLoader, type LoaderOptions } from '../../../src/reads/latest-order/loader.ts'
import { until } from '../../helpers/until.ts'

function startLoader (t: Test, options: Partial<LoaderOptions>) {
  const logged: string[] = []
  const logger = pino({ level: 'info' }, { write: (line: string) => { logged.push((JSON.parse(line) as { msg: string }).msg) } })
  const loader = createLoader({
    order: new DeviceOrder({ devicesMax: 100 }),
    devicesMax: 100,
    countOtherGateways: async () => 0,
    countDevices: async () => 0,
    selectOrderKeys: async () => [],
    clock: { nowMs: Date.now },
    logger,
    watchIntervalMs: 1,
    ...options
  })
  t.teardown(() => loader.stop())
  loader.start()
  return { loader, logged, trusted: async () => { while (!loader.isTrusted) await sleep(1) } }
}

t.test('rows that may have changed while they were read are read again', async (t) => {
  let reads = 0
  const { loader, trusted } = startLoader(t, {
    async selectOrderKeys () {
      if (++reads < 3) loader.distrust('a test')
      return []
    }
  })
  await trusted()
  t.equal(reads, 3)
})

t.test('a failing read is logged once and tried again', async (t) => {
  let reads = 0
  const { logged, trusted } = startLoader(t, {
    async selectOrderKeys () {
      if (++reads < 4) throw new Error('away')
      return []
    }
  })
  await trusted()
  await sleep(10)
  t.same(logged, [
    'the order of devices cannot be read; trying again', 'sorted pages come from memory', 'the order of devices is kept up to date again'
  ])
})

t.test('after PostgreSQL was away latest is read again without waiting for its turn, and trusted meanwhile', async (t) => {
  let isAway = false
  let reads = 0
  const { loader, trusted } = startLoader(t, {
    async countOtherGateways () {
      if (isAway) throw new Error('away')
      return 0
    },
    async selectOrderKeys () {
      reads++
      return []
    },
    reloadIntervalMs: 1e9
  })
  await trusted()
  await sleep(50)
  t.equal(reads, 1)
  isAway = true
  await sleep(50)
  t.ok(loader.isTrusted)
  isAway = false
  await until(() => reads > 1)
  t.ok(loader.isTrusted)
})

t.test('another gateway that appears during a round of reading ends the round', async (t) => {
  let others = 0
  let reads = 0
  const { loader, trusted } = startLoader(t, {
    countOtherGateways: async () => others,
    async selectOrderKeys () {
      await sleep(3)
      others = ++reads === 1 ? 1 : others
      return Array.from({ length: 4000 }, (_, n) => ({
        device: `d${n % 50}`, time: 1, heartRate: null, heartRateTime: null, breathRate: null, breathRateTime: null, breathValueTime: null
      })).slice(0, reads <= 2 ? 4000 : 0)
    }
  })
  await sleep(100)
  t.equal(reads, 1)
  t.notOk(loader.isTrusted)
  others = 0
  await trusted()
  t.ok(reads > 1)
})

t.test('a stop ends the loader in the middle of a round', async (t) => {
  let reads = 0
  let onStopped = (_stopped: Promise<void>) => {}
  const asked = new Promise<{ stopped: Promise<void> }>((resolve) => { onStopped = (stopped) => resolve({ stopped }) })
  const { loader } = startLoader(t, {
    async selectOrderKeys () {
      reads++
      onStopped(loader.stop())
      return Array.from({ length: 4000 }, () => ({
        device: 'a', time: 1, heartRate: null, heartRateTime: null, breathRate: null, breathRateTime: null, breathValueTime: null
      }))
    }
  })
  await (await asked).stopped
  t.equal(reads, 1)
  t.notOk(loader.isTrusted)
})
