import { spawnSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { Presets, SingleBar } from 'cli-progress'
import type { Command } from 'commander'
import { root } from '../harness/compile.ts'
import { describeMachine } from '../harness/machine.ts'
import { Belongings } from '../harness/belongings.ts'
import { plantBug } from '../harness/plant-bug.ts'
import { createFuzzCommand, type FuzzOptions } from './options.ts'
import { BUGS } from './planted-bugs.ts'
import { copyProgram } from './program.ts'
import { formatOutcome } from './report/report.ts'
import { type FuzzOutcome, runFuzz } from './run.ts'

/** Progress and remarks; stdout is for the report. */
function say (line: string): void {
  process.stderr.write(`${line}\n`)
}

/** A bar on a terminal, elsewhere a line at intervals; of packets, or of time where packets are unlimited. */
function createProgress ({ packets, seconds }: FuzzOptions) {
  const startMs = performance.now()
  const total = Number.isFinite(packets) ? packets : seconds
  const unit = Number.isFinite(packets) ? 'packets' : 's'
  const toDone = (sent: number) => Math.min(total, Number.isFinite(packets) ? sent : Math.round((performance.now() - startMs) / 1000))
  if (!process.stderr.isTTY) {
    let toldAtMs = 0
    return {
      update (sent: number): void {
        if (performance.now() - toldAtMs < 10_000) return
        toldAtMs = performance.now()
        say(`${toDone(sent)}/${total} ${unit}, ${sent} packets sent`)
      },
      stop (): void {}
    }
  }
  const bar = new SingleBar({
    format: `[{bar}] {value}/{total} ${unit}, {duration_formatted} of about {eta_formatted} more`, clearOnComplete: false
  }, Presets.legacy)
  bar.start(total, 0)
  return { update: (sent: number) => bar.update(toDone(sent)), stop: () => bar.stop() }
}

/** A changed record of runs does not count as a changed program. */
function readCommit (): { commit?: string } {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  const changes = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!scripts/*/results.jsonl')
  return changes.status === 0 && changes.stdout === '' ? { commit: git('rev-parse', '--short', 'HEAD').stdout.trim() } : {}
}

function appendResult (
  file: string, options: FuzzOptions, outcome: FuzzOutcome, machine: ReturnType<typeof describeMachine>, startedAt: Date
): void {
  const { seed, targets, packets, seconds, from, rounds } = options
  const { commit, ...rest } = machine
  appendFileSync(file, `${JSON.stringify({
    date: startedAt.toISOString(),
    commit,
    seed,
    config: { targets, ...(Number.isFinite(packets) ? { packets } : { seconds }), ...(from > 0 ? { from } : {}), rounds },
    durationS: Math.round((Date.now() - startedAt.getTime()) / 1000),
    ...outcome,
    machine: rest
  })}\n`)
}

/** @returns the exit status: 1 for a violation */
async function run (options: FuzzOptions): Promise<number> {
  const belongings = new Belongings()
  belongings.keepsDirs = options.isKeeping
  const dir = belongings.createDir()
  say(`seed ${options.seed}`)
  const startedAt = new Date()
  const machine = { ...describeMachine(dir), ...readCommit() }
  const program = copyProgram(dir)
  if (options.bug !== undefined) plantBug(join(dir, 'app', 'dist'), BUGS[options.bug])
  const progress = createProgress(options)
  try {
    const outcome = await runFuzz({
      ...options,
      belongings,
      dir,
      program,
      timeMs: options.seconds * 1000,
      databaseUrl: null,
      onProgress: (packets) => { progress.update(packets) }
    })
    progress.stop()
    console.log(`${options.bug === undefined ? '' : `with the planted bug ${options.bug}\n`}${formatOutcome(options, outcome)}`)
    if (options.resultsFile !== null) appendResult(options.resultsFile, options, outcome, machine, startedAt)
    return outcome.violations.length > 0 ? 1 : 0
  } finally {
    progress.stop()
    belongings.removeDir(dir)
  }
}

/** `vital-gateway fuzz`, in a clone only. */
export function createCommand (): Command {
  return createFuzzCommand(async (options) => {
    const status = await run(options).catch((error: unknown) => {
      say(error instanceof Error ? error.stack ?? error.message : String(error))
      return 2
    })
    // Connections of a run that broke off would keep this process alive. All that was started ends with it.
    process.exit(status)
  })
}
