#!/usr/bin/env -S node --max-semi-space-size=32 --heap-growing-percent=40 --no-allocation-site-pretenuring
/**
 * The program, and the only place of V8's flags. Most of them have an effect only before the heap exists, so they are
 * on the line that starts Node: `env` becomes Node, under the same process id. A supervisor that signals or kills the
 * process that it started reaches the gateway, and no parent has to pass signals on. Rejected: a launcher that spawns
 * Node again (a second process, 40 MB and 40 ms, and an orphan that holds the ports after `kill -9` of the first).
 */
import { toNodeRefusal } from '../src/process/node-version.ts'

// Before any module is loaded that an older Node cannot read.
const refusal = toNodeRefusal(process.versions.node)
if (refusal !== null) {
  process.stderr.write(`${refusal}\n`)
  process.exit(1)
}

const args = process.argv.slice(2)
if (args.length === 0 || (args.length === 1 && args[0] === 'serve')) {
  await import('../src/main.ts')
} else if (args.length === 1 && args[0] === 'api') {
  await import('../src/api-main.ts')
} else if (args.length === 1 && args[0] === 'sink') {
  await import('../src/sink-main.ts')
} else if (args.length === 1 && args[0] === 'bridge') {
  await import('../src/bridge-main.ts')
} else if (args.length === 1 && args[0] === 'lake') {
  await import('../src/lake-main.ts')
} else if (args.length === 1 && args[0] === 'export') {
  await import('../src/export-main.ts')
} else {
  const { runAsProcess } = await import('./command-line/process.ts')
  await runAsProcess(args)
}
