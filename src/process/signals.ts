/** Handling of the operator's signals, from the first line of the program on. */
export interface Signals {
  /** From now on a stop goes through `stop`. Before, it ends the process at once: nothing has begun. */
  onStop (stop: (signal: NodeJS.Signals) => void): void
  /** From now on SIGHUP goes through `reload`; until then everything is about to be read anyway. */
  onReload (reload: () => void): void
}

/**
 * Takes SIGTERM, SIGINT and SIGHUP over. Loading the program takes some tenths of a second, in which the defaults of
 * the system would end the process without exit status 0, SIGHUP included.
 */
export function createSignals (): Signals {
  let stop: (signal: NodeJS.Signals) => void = () => { process.exit(0) }
  let reload = (): void => {}
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, (signal) => { stop(signal) })
  process.on('SIGHUP', () => { reload() })
  return {
    onStop (given) { stop = given },
    onReload (given) { reload = given }
  }
}
