import { runDeadLetters } from './operate/dead-letters/command.ts'
import { runOperatorScript } from './command-line/command.ts'

await runOperatorScript('dead-letters', runDeadLetters)
