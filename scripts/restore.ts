import { runRestore } from './operate/backup/command.ts'
import { runOperatorScript } from './command-line/command.ts'

await runOperatorScript('restore', runRestore)
