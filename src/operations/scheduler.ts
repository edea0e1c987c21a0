import type { Logger } from 'pino'

/** Work that repeats beside the traffic. */
export interface Task {
  readonly name: string
  readonly intervalMs: number
  /** Delay before the first run; by default `intervalMs`. */
  readonly firstAfterMs?: number
  readonly run: () => Promise<void>
}

/**
 * Runs each task at its interval, never twice at once. If a task fails, that is logged, and it runs again after its
 * interval.
 */
export function createScheduler ({ tasks, logger }: { tasks: readonly Task[], logger: Logger }) {
  const timers = new Set<NodeJS.Timeout>()
  let isStopped = false

  function schedule (task: Task, delayMs: number): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      task.run().catch((error: unknown) => {
        // A failure during a stop is caused by the stop.
        if (!isStopped) logger.warn({ err: error, task: task.name }, 'maintenance failed and will be tried again')
      }).finally(() => {
        if (!isStopped) schedule(task, task.intervalMs)
      })
    }, delayMs).unref()
    timers.add(timer)
  }

  return {
    start (): void {
      for (const task of tasks) schedule(task, task.firstAfterMs ?? task.intervalMs)
    },
    stop (): void {
      isStopped = true
      for (const timer of timers) clearTimeout(timer)
    }
  }
}
