import type { Logger } from 'pino'

/** Work that repeats beside the traffic. */
export interface Task {
  readonly name: string
  readonly intervalMs: number
  readonly run: () => Promise<void>
}

/** Runs each task in its rhythm, never twice at once. A task that fails is logged and runs again at its next turn. */
export function createMaintenance ({ tasks, logger }: { tasks: readonly Task[], logger: Logger }) {
  const timers = new Set<NodeJS.Timeout>()
  let isStopped = false

  function schedule (task: Task): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      task.run().catch((error: unknown) => {
        logger.warn({ err: error, task: task.name }, 'maintenance failed and will be tried again')
      }).finally(() => {
        if (!isStopped) schedule(task)
      })
    }, task.intervalMs).unref()
    timers.add(timer)
  }

  return {
    start (): void {
      for (const task of tasks) schedule(task)
    },
    stop (): void {
      isStopped = true
      for (const timer of timers) clearTimeout(timer)
    }
  }
}
