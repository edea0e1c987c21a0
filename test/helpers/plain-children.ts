/**
 * Loaded into every test process after tap (.taprc). tap loads itself into each process that a test starts: a thread and
 * a hook for every module, which doubles the CPU time of a gateway's start, and handlers of signals that no gateway in
 * operation has. We measure no coverage, so the children of tests stay as they are.
 */
import { createRequire } from 'node:module'

interface Child {
  env: Record<string, string>
}

const processOnSpawn = createRequire(import.meta.url)('process-on-spawn') as { addListener (listener: (child: Child) => void): void }

processOnSpawn.addListener((child) => {
  const { NODE_OPTIONS: _, ...env } = child.env
  child.env = env
})
