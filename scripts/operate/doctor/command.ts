import { Command } from 'commander'
import { toPrintable, toPrintableJson } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { checkAccess } from './access.ts'
import { checkBridge } from './bridge.ts'
import { checkCertificates, checkTokenKeys } from './certificates.ts'
import { checkConfiguration } from './configuration.ts'
import { checkDataDirectory } from './data-directory.ts'
import { checkDatabase } from './database.ts'
import { checkExport } from './export.ts'
import type { Finding } from './finding.ts'
import { findDirectoryHolder } from './holder.ts'
import { checkKafka } from './kafka.ts'
import { checkLake } from './lake.ts'
import { checkPorts } from './ports.ts'
import { checkRedis } from './redis.ts'
import { checkDescriptors, checkNode } from './runtime.ts'

const NOTES = `
Examples:
  vital-gateway doctor
  VITAL_DATA_DIR=/var/lib/vital-gateway vital-gateway doctor --json

It works while the gateway runs and while it is stopped, and changes nothing; in the store of a lake it puts an object
and removes it. Run it as the user that runs the gateway, with its environment and in its working directory.
A line is ok, warn (a gateway starts, and something weakens it) or FAIL (it does not start, or cannot keep its promise).
Exit status: 0 without FAIL; 1 with; 2 for a wrong command line.`

/** Width of the column of checks. */
const CHECK_WIDTH = 14
const COLOURS = { ok: 32, warn: 33, FAIL: 31 } as const

/** `vital-gateway doctor`. */
export function createCommand ({ print, finish, isColoured, readVariables }: CommandSurroundings): Command {
  return new Command('doctor')
    .description('Checks configuration, database, Redis, Kafka, external broker, time-series database, lake, disk, open files, ports ' +
      'and certificates, and says what to do, one line each.')
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async ({ json = false }: { json?: boolean }) => {
      const findings = await examine(readVariables)
      const isSound = findings.every(({ status }) => status !== 'FAIL')
      print(json ? toPrintableJson({ ok: isSound, findings }) : findings.map((finding) => toLine(finding, isColoured)).join('\n'))
      finish(isSound ? 0 : 1)
    })
}

async function examine (readVariables: CommandSurroundings['readVariables']): Promise<Finding[]> {
  const { config, findings } = checkConfiguration(readVariables)
  const first = [checkNode(), ...findings]
  // The other checks would use the defaults of the faulty variables.
  if (config === null) return first
  const holder = await findDirectoryHolder(config.dataDir)
  const { findings: database, hasPrincipals } = await checkDatabase(config, holder)
  return [
    ...first,
    ...database,
    ...await checkRedis(config),
    ...await checkKafka(config),
    ...await checkBridge(config),
    ...await checkExport(config),
    ...await checkLake(config),
    ...await checkDataDirectory(config),
    checkDescriptors(config),
    ...await checkPorts(config, holder),
    ...await checkCertificates(config),
    ...await checkTokenKeys(config),
    await checkAccess(config, hasPrincipals)
  ]
}

function toLine ({ check, status, text, advice }: Finding, isColoured: boolean): string {
  const sentence = toPrintable((advice === null ? text : `${text}: ${advice}`).replaceAll(/\s*\n\s*/g, ' '))
  const mark = status.padEnd(4)
  return `${isColoured ? `\u001b[${COLOURS[status]}m${mark}\u001b[0m` : mark}  ${check.padEnd(CHECK_WIDTH)}  ${sentence}`
}
