/**
 * Loaded into every test process after tap (.taprc). tap loads itself into each process that a test starts. Its thread and its
 * hook for every module double the CPU time of a gateway's start, and its signal handlers differ from a gateway in operation.
 * We measure no coverage, so the children of tests run without tap.
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
