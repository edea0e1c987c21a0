import { tellOfPlaintext } from '../../command-line/access.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { type FleetDevice, reachGateway, runFleet, withoutPassword } from './fleet.ts'
import type { Logins } from './logins.ts'
import { createProgress } from './progress.ts'
import { toExitCode, toReport } from './report.ts'
import { Tally } from './tally.ts'

/** npm, tsx and the terminal may each pass one Ctrl-C on: repeats within this time count once. */
const SAME_SIGNAL_MS = 500

/** What a command asks of {@link runFleetCommand}. */
export interface FleetCommand {
  /** Name of the command; client ids begin with it. */
  readonly name: string
  readonly surroundings: CommandSurroundings
  readonly url: string
  readonly protocolVersion: 4 | 5
  readonly inFlightMax: number
  readonly patienceMs: number
  readonly devices: readonly FleetDevice[]
  readonly logins: Logins
  /** Readings of all devices together; `Infinity` where they have no end. */
  readonly planned: number
  /** Lines printed before and after the run. */
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/**
 * Runs a fleet for a person: progress on stderr, the report on stdout. The first Ctrl-C stops and reports, a second ends at once.
 * @returns the exit status: 1 when anything stayed unacknowledged or was rejected
 * @throws `OPERATOR_FAILED` when the gateway cannot be reached
 */
export async function runFleetCommand (command: FleetCommand): Promise<number> {
  const { name, surroundings, url, protocolVersion, inFlightMax, patienceMs, devices, logins, planned } = command
  const { print, tell, progress: stream } = surroundings
  const runId = `${name}-${process.pid}`
  const device = devices[0]?.device ?? name
  // Checked before the first device connects: one that the file lacks would end a run that goes well.
  for (const { device } of devices) logins.of(device)
  if (logins.of(device) !== null) tellOfPlaintext(url, tell)
  await reachGateway({ url, protocolVersion, runId, logins, device })
  for (const line of [...command.before, `publishing to ${withoutPassword(url)}`]) print(line)

  const stop = new AbortController()
  const tally = new Tally(planned)
  const startedAtMs = performance.now()
  const progress = createProgress({ tally, devices: devices.length, stream })
  const release = onStopSignal(() => { stop.abort() }, () => {
    progress.stop()
    print(toReport(tally, 'stopped', performance.now() - startedAtMs).join('\n'))
    process.exit(1)
  })
  try {
    const ending = await runFleet({ url, protocolVersion, runId, devices, logins, inFlightMax, patienceMs, tally, stop: stop.signal })
    progress.stop()
    print([...toReport(tally, ending, performance.now() - startedAtMs), ...command.after].join('\n'))
    return toExitCode(tally, ending)
  } finally {
    release()
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
