import { Command } from 'commander'
import { readBacklog } from '../../../db/rollups/backlog.ts'
import { rebuild, type Rebuilt } from '../../../db/rollups/rebuilding.ts'
import { readState } from '../../../db/rollups/turn.ts'
import { DEVICE_ID_RULE, isStoredDeviceId } from '../../../schemas/device-id.ts'
import { withDatabase } from '../../command-line/database.ts'
import { usageError } from '../../command-line/operator-error.ts'
import { toPrintable, toPrintableJson, toTable } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { instantOption } from '../../command-line/values.ts'

/** A day of ten devices that send ten readings a second takes half a minute. */
const STATEMENT_TIMEOUT_MS = 300_000
const TOLD_EVERY_MS = 5000

const NOTES = `
Examples:
  vital-gateway rollups status
  vital-gateway rollups rebuild --from 2025-01-01 --to 2026-01-01
  vital-gateway rollups rebuild --device ward-3 --from 30d

Readings that a gateway stores need no rebuild, however late they come. It is for rows that were written, changed or
deleted by others, by COPY for instance. Traffic may go on meanwhile. Where retention removed the readings, averages
stay as they are.
PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
Exit status: 0; 1 when it failed, or cannot be reached; 2 for a wrong command line.`

interface RebuildValues {
  readonly from?: number
  readonly to?: number
  readonly device?: string
  readonly json?: boolean
}

/** `vital-gateway rollups`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const command = new Command('rollups')
    .description('Shows how far averages of five minutes and one hour are computed, and computes them again.')
    .addHelpText('after', NOTES)
  command.command('status')
    .description('show how far the averages are computed')
    .option('--json', 'print JSON')
    .action(async (values: { readonly json?: boolean }) => { await tellStatus(values.json === true, surroundings) })
  command.command('rebuild')
    .description('compute averages again from the readings')
    .addOption(instantOption('--from <time>', 'from here on (default: the first reading)'))
    .addOption(instantOption('--to <time>', 'before this time (default: now)'))
    .option('--device <id>', 'of this device alone')
    .option('--json', 'print JSON')
    .action(async (values: RebuildValues) => { await rebuildRollups(values, surroundings) })
  return command
}

async function tellStatus (isJson: boolean, { readConfig, print }: CommandSurroundings): Promise<void> {
  const { state, backlog } = await withDatabase({
    config: readConfig(), name: 'rollups', statementTimeoutMs: STATEMENT_TIMEOUT_MS
  }, async ({ kysely }) => ({ state: await readState(kysely), backlog: await readBacklog(kysely) }))
  const { openFrom, closedBefore, builtFrom, sealedBefore } = state
  if (isJson) {
    const toJson = (timeS: number) => Number.isFinite(timeS) ? timeS : null
    print(toPrintableJson({
      openFrom, closedBefore, builtFrom: toJson(builtFrom), sealedBefore: toJson(sealedBefore), ...backlog
    }))
    return
  }
  print(toTable([
    ['computed before', toIso(closedBefore), `${Math.round(backlog.lagS)} s ago`],
    ['computed from', toIso(builtFrom), backlog.isUnbuilt ? 'earlier readings are still to be rolled up' : 'all stored readings'],
    ['final before', toIso(sealedBefore), 'their readings were removed by retention'],
    ['late buckets', String(backlog.marks), 'marks that wait']
  ]).join('\n'))
}

async function rebuildRollups (
  { from = 0, to = Infinity, device, json }: RebuildValues, { readConfig, print, progress }: CommandSurroundings
): Promise<void> {
  if (device !== undefined && !isStoredDeviceId(device)) {
    throw usageError(`"${toPrintable(device)}" cannot be a device: ${DEVICE_ID_RULE}`)
  }
  if (from >= to) throw usageError('--from must be before --to')
  let toldAtMs = performance.now()
  const onStep = ({ devices, buckets }: Rebuilt, timeS: number) => {
    if (performance.now() - toldAtMs < TOLD_EVERY_MS) return
    toldAtMs = performance.now()
    progress.write(`${devices} devices done, ${buckets} buckets; the next ones up to ${toIso(timeS)}\n`)
  }
  const rebuilt = await withDatabase({
    config: readConfig(), name: 'rollups', statementTimeoutMs: STATEMENT_TIMEOUT_MS
  }, ({ kysely }) => rebuild({
    kysely, fromS: from, toS: Math.min(to, Date.now() / 1000), device: device ?? null, onStep, isStopping: () => false
  }))
  if (json === true) print(toPrintableJson(rebuilt))
  else {
    print(`${rebuilt.devices} devices, ${rebuilt.buckets} buckets of five minutes from ${toIso(rebuilt.fromS)} to ${toIso(rebuilt.toS)}`)
  }
}

const toIso = (unixS: number) => Number.isFinite(unixS) ? new Date(unixS * 1000).toISOString() : '-'
