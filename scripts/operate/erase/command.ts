import { Command } from 'commander'
import { describeDevice } from '../../../db/queries/describe-device.ts'
import { DEVICE_ID_RULE, isStoredDeviceId } from '../../../schemas/device-id.ts'
import type { ErasureAnswer } from '../../../schemas/erasure.ts'
import type { Config } from '../../../src/config/config.ts'
import { type Access, type AccessValues, addAccessOptions, readAccess, tellOfPlaintext, toHttpUrl } from '../../command-line/access.ts'
import { toActor } from '../../command-line/actor.ts'
import { toGatewayUrl, withDatabase } from '../../command-line/database.ts'
import { RepeatableOption } from '../../command-line/equip.ts'
import { createGatewayClient, toErrorAnswer, toFailure } from '../../command-line/gateway-client.ts'
import { OperatorError, usageError } from '../../command-line/operator-error.ts'
import { toPrintable, toPrintableJson, toTable } from '../../command-line/printable.ts'
import type { CommandSurroundings, Print, ProgressStream } from '../../command-line/surroundings.ts'
import type { Erased } from './erased.ts'
import { eraseStopped } from './stopped.ts'

const STATEMENT_TIMEOUT_MS = 300_000

const NOTES = `
Examples:
  vital-gateway erase --device ward-3            counts what there is; erases nothing
  vital-gateway erase --device ward-3 --yes

It removes readings, latest state, dead letters, readings in the spool, retained and queued messages. Before, revoke the
device or switch it off: readings that it sends meanwhile are new. Without --url it asks the gateway of VITAL_DATA_DIR
over HTTP (VITAL_HOST, VITAL_HTTP_PORT), or erases in its place where it is stopped. Every other gateway on the database
does the same. One that is not connected, or does not answer within 15 s, is named, and erases before it writes again.

It prints what remains where, and until when. It does not reach backups (vital-gateway restore erases again), archived
write-ahead log, the free space of the disk, what subscribers have received, log files, or files of the spool that the
disk damaged.
PostgreSQL is the gateway's: DATABASE_URL, else VITAL_DATA_DIR/database-url; .env is read.
Exit status: 0; 1 when something was not erased, or cannot be reached; 2 for a wrong command line.`

const STATES = { confirmed: 'confirmed by', silent: 'no answer of', away: 'not connected' } as const

interface Values extends AccessValues {
  readonly device: readonly string[]
  readonly yes?: boolean
  readonly url?: readonly string[]
  readonly json?: boolean
}

/** `vital-gateway erase`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const command = new Command('erase')
    .description('Removes everything that a gateway holds of a device, and nothing of other devices.')
    .addOption(new RepeatableOption('--device <id>', 'the device; one --device for each').makeOptionMandatory())
    .option('--yes', 'erase it')
    .addOption(new RepeatableOption('--url <url>', 'the running gateway'))
  return addAccessOptions(command)
    .option('--json', 'print JSON')
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { surroundings.finish(await erase(values, surroundings)) })
}

/** @returns the exit status: 1 when something of the device may be left */
async function erase (values: Values, { readConfig, print, tell, progress }: CommandSurroundings): Promise<number> {
  const devices = [...new Set(values.device)]
  for (const device of devices) {
    if (!isStoredDeviceId(device)) throw usageError(`"${toPrintable(device)}" cannot be a device: ${DEVICE_ID_RULE}`)
  }
  const urls = values.url?.map(toHttpUrl)
  const access = await readAccess(values, tell)
  const config = readConfig()
  if (values.yes !== true) {
    for (const device of devices) await describe(config, device, print)
    return 1
  }
  const answers: ErasureAnswer[] = []
  for (const device of devices) {
    const answer = { deviceId: device, ...await eraseEverywhere({ config, device, urls, access, tell, progress }) }
    answers.push(answer)
    if (values.json !== true) print(toReport(device, answer).join('\n'))
  }
  if (values.json === true) print(toPrintableJson(devices.length === 1 ? answers[0] : answers))
  return tellOfLeftovers(answers, tell)
}

/** @returns the exit status */
function tellOfLeftovers (answers: readonly ErasureAnswer[], tell: Print): number {
  const others = new Set(answers.flatMap(({ gateways }) => gateways.filter(({ state }) => state !== 'confirmed').map(({ name }) => name)))
  const damaged = Math.max(...answers.map(({ damagedSpoolFiles }) => damagedSpoolFiles))
  for (const name of others) tell(`${name} has not confirmed; it deals with the request before it writes again.`)
  if (damaged > 0) {
    tell(`${damaged} damaged files of the spool (*.spool.damaged) may hold readings of any device: look at them, then delete them.`)
  }
  return others.size > 0 || damaged > 0 ? 1 : 0
}

async function describe (config: Config, device: string, print: Print): Promise<void> {
  const { readings, firstAt, lastAt, deadLetters } = await withDatabase({ config, name: 'erase', statementTimeoutMs: STATEMENT_TIMEOUT_MS },
    ({ kysely }) => describeDevice(kysely, device))
  const span = firstAt === null || lastAt === null ? '' : ` from ${toInstant(firstAt)} to ${toInstant(lastAt)}`
  print(`${toPrintable(device)}: ${readings} readings${span}, ${deadLetters} dead letters in PostgreSQL. Nothing was erased: add --yes ` +
    'to erase them, and the readings in the spool.')
}

interface Request {
  readonly config: Config
  readonly device: string
  /** `undefined`: the gateway of this environment. */
  readonly urls: readonly string[] | undefined
  readonly access: Access
  readonly tell: Print
  readonly progress: ProgressStream
}

/** @returns the sum of what they removed, and the last one's report of the other gateways */
async function eraseEverywhere ({ config, device, urls, access, tell, progress }: Request): Promise<Erased> {
  const stopped = urls === undefined ? await eraseStopped({ config, device, actor: toActor(), tell, progress }) : null
  if (stopped !== null) return stopped
  let sum: Erased | null = null
  const addresses = [...new Set(urls ?? [toGatewayUrl(config)])]
  for (const url of addresses) {
    if (access.token !== null) tellOfPlaintext(url, tell)
    const erased = await eraseRunning(url, device, access)
    sum = sum === null ? erased : add(sum, erased)
  }
  return sum!
}

async function eraseRunning (url: string, device: string, access: Access): Promise<Erased> {
  // Years of readings take minutes, and only the gateway knows how far it is.
  const gateway = createGatewayClient({ url, access, timeoutMs: 0 })
  const answer = await gateway.request(`/vital-data/${encodeURIComponent(device)}`, { method: 'DELETE' }).catch((cause: unknown) => {
    if (cause instanceof OperatorError) throw cause
    throw new OperatorError('OPERATOR_FAILED', `the gateway at ${url} cannot be reached, or went away: ${toFailure(cause)}.\n` +
      'Name the right one with --url. It is safe to run this again.', { cause })
  })
  if (answer.status === 200) {
    const { deviceId: _, ...erased } = JSON.parse(answer.text) as ErasureAnswer
    return erased
  }
  const { code, message, details = [] } = toErrorAnswer(answer)
  throw new OperatorError('OPERATOR_FAILED', code.startsWith('VITAL_')
    ? `the gateway at ${url} did not erase ${toPrintable(device)}: ` +
      `${[message, ...details.map((detail) => detail.message)].join(': ')}.\nIt is safe to run this again.`
    : `the server at ${url} is not this gateway: ${answer.status} to DELETE /vital-data/…`)
}

function add (one: Erased, other: Erased): Erased {
  return {
    readings: one.readings + other.readings,
    latest: one.latest + other.latest,
    deadLetters: one.deadLetters + other.deadLetters,
    retained: one.retained + other.retained,
    queued: one.queued + other.queued,
    damagedSpoolFiles: one.damagedSpoolFiles + other.damagedSpoolFiles,
    gateways: other.gateways,
    remains: other.remains
  }
}

function toReport (device: string, { readings, latest, deadLetters, retained, queued, gateways, remains }: Erased): string[] {
  return [`erased ${toPrintable(device)}`, ...toTable([
    ['readings', String(readings), 'those that waited in the spool included'],
    ['latest state', String(latest), ''],
    ['dead letters', String(deadLetters), ''],
    ['retained', String(retained), 'messages'],
    ['queued', String(queued), 'messages for subscribers that are away']
  ]), ...toTable(gateways.map(({ name, state }) => [STATES[state], toPrintable(name)])),
  'What remains, and until when:', ...remains.map(({ where, until }) => toPrintable(`${where}: until ${until}`))]
}

function toInstant (unixS: number): string {
  return new Date(unixS * 1000).toISOString()
}
