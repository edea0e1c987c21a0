/** Ends the work, which then cleans up, when the terminal or a supervisor ends the command. */
export async function untilSignal<T> (work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const abort = () => { controller.abort() }
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  // A second signal ends the process at once.
  for (const name of names) process.once(name, abort)
  try {
    return await work(controller.signal)
  } finally {
    for (const name of names) process.off(name, abort)
  }
}
