import { runCredentials } from './operate/credentials/command.ts'
import { runOperatorScript } from './command-line/command.ts'

await runOperatorScript('credentials', runCredentials)
