import { runCompat } from './compat/run.ts'

process.exitCode = await runCompat(process.argv.slice(2))
