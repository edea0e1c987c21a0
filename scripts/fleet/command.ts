import { type FleetDevice, GatewayUnreachableError, reachGateway, runFleet, withoutPassword } from './fleet.ts'
import { UsageError } from './options.ts'
import { createProgress } from './progress.ts'
import { toExitCode, toReport } from './report.ts'
import { Tally } from './tally.ts'

/** npm, tsx and the terminal may each pass on one Ctrl-C: repeats within this time are the same one. */
const SAME_SIGNAL_MS = 500

/** What a script asks of {@link runFleetCommand}. */
export interface FleetCommand {
  /** Of the script: starts the client ids. */
  readonly name: string
  readonly url: string
  readonly inFlightMax: number
  readonly patienceMs: number
  readonly devices: readonly FleetDevice[]
  /** Readings of all devices together. */
  readonly planned: number
  /** Lines told before and after the run. */
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/**
 * Runs a fleet for a person: progress on stderr, the report on stdout. The first Ctrl-C stops and reports, a second ends at once.
 * @returns the exit status: 1 when anything stayed unacknowledged or was rejected
 * @throws `FLEET_GATEWAY_UNREACHABLE`
 */
export async function runFleetCommand (command: FleetCommand): Promise<number> {
  const { name, url, inFlightMax, patienceMs, devices, planned } = command
  const runId = `${name}-${process.pid}`
  await reachGateway(url, runId)
  for (const line of [...command.before, `publishing to ${withoutPassword(url)}`]) process.stdout.write(`${line}\n`)

  const stop = new AbortController()
  const tally = new Tally(planned)
  const startedAtMs = performance.now()
  const progress = createProgress({ tally, devices: devices.length, stream: process.stderr })
  const release = onStopSignal(() => { stop.abort() }, () => {
    progress.stop()
    write(toReport(tally, 'stopped', performance.now() - startedAtMs))
    process.exit(1)
  })
  try {
    const ending = await runFleet({ url, runId, devices, inFlightMax, patienceMs, tally, stop: stop.signal })
    progress.stop()
    write([...toReport(tally, ending, performance.now() - startedAtMs), ...command.after])
    return toExitCode(tally, ending)
  } finally {
    release()
  }
}

/**
 * Runs a script's main function and sets the exit status: 2 for wrong usage, 1 when the gateway cannot be reached.
 * Anything else is a defect and crashes.
 */
export async function runScript (name: string, main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main()
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`${name}: ${error.message}\nSee npm run ${name} -- --help\n`)
      process.exitCode = 2
    } else if (error instanceof GatewayUnreachableError) {
      process.stderr.write(`${name}: ${error.message}\nIs the gateway running? Start it with npm start, or name another with --url.\n`)
      process.exitCode = 1
    } else {
      throw error
    }
  }
}

function onStopSignal (first: () => void, second: () => void): () => void {
  let firstAtMs: number | null = null
  const listener = () => {
    if (firstAtMs === null) {
      firstAtMs = performance.now()
      first()
    } else if (performance.now() - firstAtMs > SAME_SIGNAL_MS) {
      second()
    }
  }
  process.on('SIGINT', listener)
  process.on('SIGTERM', listener)
  return () => {
    process.off('SIGINT', listener)
    process.off('SIGTERM', listener)
  }
}

function write (lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''))
}
