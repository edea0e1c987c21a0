import { runCredentials } from './credentials/command.ts'
import { runOperatorScript } from './operator/command.ts'

await runOperatorScript('credentials', runCredentials)
