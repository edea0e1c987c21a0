import type { Command } from 'commander'
import { usageError } from '../command-line/operator-error.ts'
import type { CommandSurroundings } from '../command-line/surroundings.ts'
import { runFleetCommand } from './fleet/command.ts'
import { readLogins } from './fleet/logins.ts'
import { toDeviceId, toReadings } from './patients/device.ts'
import { createSimulateCommand, type SimulateOptions } from './patients/options.ts'

const DEVICES_DEFAULT = 100

/** `vital-gateway simulate`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  return createSimulateCommand(async (options) => { surroundings.finish(await simulate(options, surroundings)) })
}

async function simulate (options: SimulateOptions, surroundings: CommandSurroundings): Promise<number> {
  const { url, protocolVersion, inFlightMax, patienceMs, login, rate, durationS, connectRate, seed } = options
  const logins = await readLogins(login, surroundings.tell)
  const devices = toDevices(options.devices, logins.devices)
  const count = Math.max(1, Math.round(rate * durationS))
  const startS = Date.now() / 1000
  return await runFleetCommand({
    name: 'simulate',
    surroundings,
    url,
    protocolVersion,
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
      `${devices.length} devices, ${rate} readings a second each for ${durationS} s; connecting within ` +
        `${(devices.length / connectRate).toFixed(1)} s`,
      `--seed ${seed}`
    ],
    after: []
  })
}

/** @param known - devices that have a secret; `null` where none is needed */
function toDevices (count: number | null, known: readonly string[] | null): readonly string[] {
  if (known === null) return Array.from({ length: count ?? DEVICES_DEFAULT }, (_, index) => toDeviceId(index))
  if (count !== null && count > known.length) {
    throw usageError(`--devices ${count} is more than the ${known.length} that --credentials names`)
  }
  return known.slice(0, count ?? known.length)
}
