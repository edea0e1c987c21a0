import { runDeadLetters } from './dead-letters/command.ts'
import { runOperatorScript } from './operator/command.ts'

await runOperatorScript('dead-letters', runDeadLetters)
