import { runFleetCommand, runScript } from './fleet/command.ts'
import { toDeviceId, toReadings } from './patients/device.ts'
import { parseSimulateOptions, SIMULATE_HELP } from './patients/options.ts'

async function main (): Promise<number> {
  const options = parseSimulateOptions(process.argv.slice(2))
  if (options === null) {
    process.stdout.write(SIMULATE_HELP)
    return 0
  }
  const { url, inFlightMax, patienceMs, devices, rate, durationS, connectRate, seed } = options
  const count = Math.max(1, Math.round(rate * durationS))
  const startS = Date.now() / 1000
  return await runFleetCommand({
    name: 'simulate',
    url,
    inFlightMax,
    patienceMs,
    devices: Array.from({ length: devices }, (_, index) => {
      const startMs = index * 1000 / connectRate
      return {
        device: toDeviceId(index),
        startMs,
        readings: toReadings({ seed, index, rate, count, startS: startS + startMs / 1000 })
      }
    }),
    planned: devices * count,
    before: [
      `${devices} devices, ${rate} readings a second each for ${durationS} s; connecting within ${(devices / connectRate).toFixed(1)} s`,
      `--seed ${seed}`
    ],
    after: []
  })
}

await runScript('simulate', main)
