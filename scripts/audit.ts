import { runAudit } from './operate/audit/command.ts'
import { runOperatorScript } from './command-line/command.ts'

await runOperatorScript('audit', runAudit)
