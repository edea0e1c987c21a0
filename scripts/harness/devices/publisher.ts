// The publisher's process: devices and their ledger, apart from the gateway and from the harness, so that no fault of
// the gateway touches the ledger.
import { Random } from '../random.ts'
import { HttpDevice } from './http-device.ts'
import { secretOf, toDeviceIds } from './identities.ts'
import { LedgerFile } from '../checks/ledger-file.ts'
import { createReadings } from './made-up-reading.ts'
import type { FromPublisher, PublisherFigures, PublisherSettings, ToPublisher } from './messages.ts'
import { MqttDevice } from './mqtt-device.ts'
import { createTally } from './tally.ts'

const TICK_MS = 5
/** Share of publishes that carry an array. */
const ARRAY_SHARE = 0.05
/** How far a schedule may fall behind before the rest is skipped: an outage must not be followed by a flood. */
const BEHIND_MAX_S = 0.25

function createPublisher (settings: PublisherSettings) {
  const random = new Random(settings.seed)
  const uniform = () => random.between(0, 1)
  const ledger = new LedgerFile(settings.ledgerPath)
  const tally = createTally()
  const { window, keepaliveS, protocolVersion } = settings
  const common = { window, ledger, tally, random: uniform }
  const sources = toDeviceIds(settings).map((id, index) => {
    const isHttp = index >= settings.devices
    const identity = { id, secret: settings.isIdentified ? secretOf(id) : null }
    return {
      isHttp,
      // Over HTTP the gateway refuses the whole request of a bad reading, and nothing of it can be found.
      readings: createReadings({ ...settings, seed: settings.seed + 1 + index, ...(isHttp ? { invalidShare: 0, poisonShare: 0 } : {}) }),
      device: isHttp
        ? new HttpDevice({ ...common, ...identity, port: settings.httpPort })
        : new MqttDevice({
          ...common,
          ...identity,
          port: settings.mqttPort,
          keepaliveS,
          protocolVersion,
          qos: index % settings.qos2Every === settings.qos2Every - 1 ? 2 : 1
        })
    }
  })
  let isMaking = true
  let next = 0
  let dueAtMs = performance.now()

  function makeOne (source: typeof sources[number]): number {
    const isArray = uniform() < ARRAY_SHARE
    const length = settings.arrayReadings > 0 ? settings.arrayReadings : isArray ? 2 + Math.floor(uniform() * 4) : 1
    source.device.publish(Array.from({ length }, () => source.readings.make(length > 1)))
    return length
  }

  function tick (): void {
    const nowMs = performance.now()
    const stepMs = 1000 / settings.ratePerS
    dueAtMs = Math.max(dueAtMs, nowMs - BEHIND_MAX_S * 1000)
    if (!isMaking) dueAtMs = nowMs + stepMs
    while (dueAtMs <= nowMs) {
      const source = sources[next++ % sources.length]!
      dueAtMs += source.device.hasRoom ? makeOne(source) * stepMs : stepMs
    }
    ledger.flush()
  }

  for (const source of sources) {
    if (!source.isHttp) for (let made = 0; made < settings.backlog && source.device.hasRoom; made++) makeOne(source)
    source.device.connect()
  }
  const timer = setInterval(tick, TICK_MS)

  return {
    figures: (): PublisherFigures => ({
      ...tally, unacknowledged: sources.reduce((sum, { device }) => sum + device.unacknowledged, 0)
    }),
    setMaking (value: boolean): void { isMaking = value },
    end (): void {
      clearInterval(timer)
      for (const { device } of sources) device.end()
      ledger.close()
    }
  }
}

function tell (message: FromPublisher): void {
  process.send?.(message)
}

let publisher: ReturnType<typeof createPublisher> | null = null

process.on('message', (message: ToPublisher) => {
  switch (message.type) {
    case 'run':
      publisher = createPublisher(message.settings)
      tell({ type: 'running' })
      break
    case 'making':
      publisher?.setMaking(message.isMaking)
      break
    case 'figures':
      if (publisher !== null) tell({ type: 'figures', figures: publisher.figures() })
      break
    case 'end':
      publisher?.end()
      publisher = null
      tell({ type: 'ended' })
      break
  }
})
process.on('uncaughtException', (error) => {
  process.send?.({ type: 'failed', message: error.stack ?? error.message } satisfies FromPublisher, () => process.exit(1))
})
process.on('disconnect', () => process.exit())
// Ctrl-C reaches the whole group; the harness decides when this process ends.
process.on('SIGINT', () => {})
