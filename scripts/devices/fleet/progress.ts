import { SingleBar } from 'cli-progress'
import type { ProgressStream } from '../../command-line/surroundings.ts'
import type { Tally } from './tally.ts'

const BAR_REFRESH_MS = 200
const LINE_EVERY_MS = 5000
const ENDLESS_LINE_EVERY_MS = 60_000

/**
 * Shows how a run goes until `stop` is called: a bar on a terminal, elsewhere (a log, a pipe) a line every 5 s. A run
 * without an end has no bar, and a line each minute.
 */
export function createProgress ({ tally, devices, stream }: {
  tally: Tally
  devices: number
  stream: ProgressStream
}): { stop: () => void } {
  return stream.isTTY === true && tally.planned !== Infinity ? createBar(tally, devices, stream) : createLines(tally, devices, stream)
}

function createBar (tally: Tally, devices: number, stream: ProgressStream): { stop: () => void } {
  const bar = new SingleBar({
    format: '{bar} {percentage}% | {value}/{total} acknowledged | {unacknowledged} in flight | {online}/{devices} online | {eta_formatted}',
    barsize: 20,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    etaBuffer: 50,
    hideCursor: true,
    linewrap: false,
    // The run outlives a first Ctrl-C to wait for acknowledgements, and stops the bar itself.
    gracefulExit: false,
    stream: stream as NodeJS.WriteStream
  })
  const payload = () => ({ unacknowledged: tally.unacknowledged, online: tally.online, devices })
  bar.start(tally.planned, 0, payload())
  const timer = setInterval(() => { bar.update(tally.acknowledged, payload()) }, BAR_REFRESH_MS)
  return {
    stop () {
      clearInterval(timer)
      bar.update(tally.acknowledged, payload())
      bar.stop()
    }
  }
}

function createLines (tally: Tally, devices: number, stream: ProgressStream): { stop: () => void } {
  const isEndless = tally.planned === Infinity
  const timer = setInterval(() => {
    const acknowledged = isEndless
      ? `${tally.acknowledged} acknowledged`
      : `${Math.floor(tally.acknowledged / tally.planned * 100)}%: ${tally.acknowledged} of ${tally.planned} acknowledged`
    stream.write(`${acknowledged}, ${tally.unacknowledged} in flight, ${tally.online} of ${devices} devices online\n`)
  }, isEndless ? ENDLESS_LINE_EVERY_MS : LINE_EVERY_MS)
  return { stop () { clearInterval(timer) } }
}
