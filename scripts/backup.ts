import { runBackup } from './backup/command.ts'
import { runOperatorScript } from './operator/command.ts'

await runOperatorScript('backup', runBackup)
