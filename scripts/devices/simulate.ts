import { readFleetLogins, runFleetCommand, runScript } from './fleet/command.ts'
import { UsageError } from './fleet/options.ts'
import { toDeviceId, toReadings } from './patients/device.ts'
import { parseSimulateOptions, SIMULATE_HELP } from './patients/options.ts'

const DEVICES_DEFAULT = 100

async function main (): Promise<number> {
  const options = parseSimulateOptions(process.argv.slice(2))
  if (options === null) {
    process.stdout.write(SIMULATE_HELP)
    return 0
  }
  const { url, inFlightMax, patienceMs, login, rate, durationS, connectRate, seed } = options
  const logins = await readFleetLogins(login)
  const devices = toDevices(options.devices, logins.devices)
  const count = Math.max(1, Math.round(rate * durationS))
  const startS = Date.now() / 1000
  return await runFleetCommand({
    name: 'simulate',
    url,
    inFlightMax,
    patienceMs,
    logins,
    devices: devices.map((device, index) => {
      const startMs = index * 1000 / connectRate
      return {
        device,
        startMs,
        readings: toReadings({ seed, index, rate, count, startS: startS + startMs / 1000 })
      }
    }),
    planned: devices.length * count,
    before: [
      `${devices.length} devices, ${rate} readings a second each for ${durationS} s; connecting within ${(devices.length / connectRate).toFixed(1)} s`,
      `--seed ${seed}`
    ],
    after: []
  })
}

/** @param known - those that have a secret; `null` where none is needed */
function toDevices (count: number | null, known: readonly string[] | null): readonly string[] {
  if (known === null) return Array.from({ length: count ?? DEVICES_DEFAULT }, (_, index) => toDeviceId(index))
  if (count !== null && count > known.length) throw new UsageError(`--devices ${count} is more than the ${known.length} that --credentials names`)
  return known.slice(0, count ?? known.length)
}

await runScript('simulate', main)
