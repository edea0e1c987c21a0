import { randomInt } from 'node:crypto'
import { Command } from 'commander'
import { numberOption } from '../../command-line/values.ts'
import { addFleetOptions, FLEET_NOTES, type FleetValues, toFleetOptions } from '../fleet/options.ts'

const NOTES = `
Examples:
  vital-gateway simulate --devices 1000 --rate 1
  vital-gateway simulate --duration 10 --seed 7
  vital-gateway simulate --url mqtts://gateway.example:8883 --credentials devices.secrets.csv

${FLEET_NOTES}`

/** Seeds are 31 bits, which anyone can type again. */
const SEED_MAX = 2 ** 31

/** What a simulation is asked for. */
export interface SimulateOptions extends ReturnType<typeof toFleetOptions> {
  /** `null`: 100, or all of `--credentials`. */
  readonly devices: number | null
  /** Readings per device and second. */
  readonly rate: number
  readonly durationS: number
  /** Devices per second. */
  readonly connectRate: number
  readonly seed: number
}

interface Values extends FleetValues {
  readonly devices?: number
  readonly rate: number
  readonly duration: number
  readonly connectRate: number
  readonly seed?: number
}

/** `vital-gateway simulate`, with what it is to do. Without `--seed` it draws one. */
export function createSimulateCommand (run: (options: SimulateOptions) => Promise<void>): Command {
  const command = new Command('simulate')
    .description('Publishes readings of made-up devices (fitbands, bedside monitors, scales) into a gateway over MQTT.')
    .addOption(numberOption('--devices <n>', 'made-up devices, each with a connection of its own (default: 100, or all of --credentials)', {
      min: 1, max: 50_000, isWhole: true
    }))
    .addOption(numberOption('--rate <n>', 'readings per device and second', { min: 0.001, max: 1000 }).default(1))
    .addOption(numberOption('--duration <seconds>', 'for which each device reports', { min: 0.001, max: 10_000_000 }).default(60))
    .addOption(numberOption('--seed <n>', 'decides every value; printed, so that a run can be repeated (default: drawn)', {
      min: 0, max: SEED_MAX, isWhole: true
    }))
    .addOption(numberOption('--connect-rate <n>', 'devices that connect per second', { min: 0.1, max: 100_000 }).default(200))
  return addFleetOptions(command).addHelpText('after', NOTES).action(async (values: Values) => {
    await run({
      ...toFleetOptions(values),
      devices: values.devices ?? null,
      rate: values.rate,
      durationS: values.duration,
      connectRate: values.connectRate,
      seed: values.seed ?? randomInt(SEED_MAX)
    })
  })
}
