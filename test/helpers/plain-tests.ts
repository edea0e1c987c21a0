/**
 * Loaded into tap by scripts/run-tests.js. To measure coverage, tap starts each test with a thread and a hook that note every
 * loaded module. That takes two seconds of CPU per test. We measure no coverage.
 */
import childProcess, { type SpawnOptions } from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'

const { spawn } = childProcess
const isWanted = (arg: string) => !/^--import=.*@tapjs\/processinfo/.test(arg)

childProcess.spawn = ((file: string, args: readonly string[] = [], options: SpawnOptions = {}) =>
  spawn(file, args.filter(isWanted), options)) as typeof spawn
syncBuiltinESMExports()
