import { SingleBar } from 'cli-progress'
import type { ProgressStream } from './surroundings.ts'

const LINE_EVERY_MS = 5000

/** Progress of a long work: a bar on a terminal, elsewhere a line every 5 s. */
export interface Progress {
  /** @param done - of the total */
  update (done: number): void
  stop (): void
}

/** @param options.label - names the work, such as `hashing passwords` */
export function createProgress ({ label, total, stream }: {
  readonly label: string
  readonly total: number
  readonly stream: ProgressStream
}): Progress {
  if (stream.isTTY !== true) {
    let toldAtMs = performance.now()
    return {
      update (done) {
        if (performance.now() - toldAtMs < LINE_EVERY_MS) return
        toldAtMs = performance.now()
        stream.write(`${label}: ${done} of ${total}\n`)
      },
      stop () {}
    }
  }
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}% | {value}/{total} | {eta_formatted}`,
    barsize: 20,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
    linewrap: false,
    clearOnComplete: true,
    stream: stream as NodeJS.WriteStream
  })
  bar.start(total, 0)
  return { update: (done) => { bar.update(done) }, stop: () => { bar.stop() } }
}
