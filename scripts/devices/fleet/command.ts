import { tellOfPlaintext } from '../../command-line/access.ts'
import { OperatorError } from '../../command-line/command.ts'
import { type FleetDevice, GatewayUnreachableError, reachGateway, runFleet, withoutPassword } from './fleet.ts'
import { type LoginOptions, readLogins, type Logins } from './logins.ts'
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
  readonly logins: Logins
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
  const { name, url, inFlightMax, patienceMs, devices, logins, planned } = command
  const runId = `${name}-${process.pid}`
  const device = devices[0]?.device ?? name
  // Before the first connects: one that the file forgot would end a run that goes well.
  for (const { device } of devices) logins.of(device)
  if (logins.of(device) !== null) tellOfPlaintext(url, tell)
  await reachGateway({ url, runId, logins, device })
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
    const ending = await runFleet({ url, runId, devices, logins, inFlightMax, patienceMs, tally, stop: stop.signal })
    progress.stop()
    write([...toReport(tally, ending, performance.now() - startedAtMs), ...command.after])
    return toExitCode(tally, ending)
  } finally {
    release()
  }
}

/** Reads the secrets that a fleet connects with. @throws `FLEET_USAGE`, `OPERATOR_USAGE` */
export async function readFleetLogins (options: LoginOptions): Promise<Logins> {
  return await readLogins(options, tell)
}

/**
 * Runs a script's main function and sets the exit status: 2 for wrong usage, 1 when the gateway cannot be reached.
 * Anything else is a defect and crashes.
 */
export async function runScript (name: string, main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main()
  } catch (error) {
    if (error instanceof UsageError || (error instanceof OperatorError && error.code === 'OPERATOR_USAGE')) {
      process.stderr.write(`${name}: ${error.message}\nSee npm run ${name} -- --help\n`)
      process.exitCode = 2
    } else if (error instanceof GatewayUnreachableError) {
      process.stderr.write(`${name}: ${error.message}\n${error.advice}\n`)
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

function tell (text: string): void {
  process.stderr.write(`${text}\n`)
}

function write (lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''))
}
