import { runErase } from './operate/erase/command.ts'
import { runOperatorScript } from './command-line/command.ts'

await runOperatorScript('erase', runErase)
