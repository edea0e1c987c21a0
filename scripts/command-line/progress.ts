import { SingleBar } from 'cli-progress'

const LINE_EVERY_MS = 5000

/** How far something has come, for a person: a bar on a terminal, elsewhere a line every 5 s. */
export interface Progress {
  /** @param done - of the total */
  update (done: number): void
  stop (): void
}

/** @param options.label - what is done, such as `hashing passwords` */
export function createProgress ({ label, total, stream }: {
  readonly label: string
  readonly total: number
  readonly stream: NodeJS.WriteStream
}): Progress {
  if (!stream.isTTY) {
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
    stream
  })
  bar.start(total, 0)
  return { update: (done) => { bar.update(done) }, stop: () => { bar.stop() } }
}
