import { runErase } from './erase/command.ts'
import { runOperatorScript } from './operator/command.ts'

await runOperatorScript('erase', runErase)
