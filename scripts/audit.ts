import { runAudit } from './audit/command.ts'
import { runOperatorScript } from './operator/command.ts'

await runOperatorScript('audit', runAudit)
