/**
 * Loaded into tap by scripts/run-tests.js. tap starts each test with a thread and a hook that note every module which the
 * test loads, for its coverage: two seconds of CPU each. We measure none.
 */
import childProcess, { type SpawnOptions } from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'

const { spawn } = childProcess
const isWanted = (arg: string) => !/^--import=.*@tapjs\/processinfo/.test(arg)

childProcess.spawn = ((file: string, args: readonly string[] = [], options: SpawnOptions = {}) =>
  spawn(file, args.filter(isWanted), options)) as typeof spawn
syncBuiltinESMExports()
