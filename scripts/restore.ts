import { runRestore } from './backup/command.ts'
import { runOperatorScript } from './operator/command.ts'

await runOperatorScript('restore', runRestore)
