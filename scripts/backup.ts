import { runBackup } from './operate/backup/command.ts'
import { runOperatorScript } from './command-line/command.ts'

await runOperatorScript('backup', runBackup)
