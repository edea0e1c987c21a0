/** Accounts of a run on a cluster: compares acknowledged with stored readings, published with delivered messages. */
import { join } from 'node:path'
import { judgeAverages } from '../../harness/checks/averages.ts'
import type { Entry } from '../../harness/checks/ledger-file.ts'
import { tell, type Violation } from '../../harness/checks/stored.ts'
import type { Load } from '../../harness/devices/messages.ts'
import type { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import { untilIdle } from '../../harness/checks/tables.ts'
import { until } from '../../harness/until.ts'
import { judgeAccount } from '../checks/account.ts'
import { drain, settle, settleReaders } from '../checks/settle.ts'
import type { Ward } from '../devices/ward.ts'
import { TOPICS } from '../../../src/kafka/topics.ts'
import { judgeCopy } from './judge-copy.ts'
import type { Stage } from './stage.ts'

export const ARRIVE_TIMEOUT_MS = 30_000
const MISSING_TOLD = 4

interface AccountsOptions {
  readonly publisher: PublisherProcess
  readonly load: Load
  /** Time for sinks to store what is in Kafka; by default 90 s. */
  readonly settleMs: number
  readonly dir: string
  readonly seed: number
  readonly onRemark: (remark: string) => void
}

export function createAccounts ({ publisher, load, settleMs, dir, seed, onRemark }: AccountsOptions) {
  const violations: Violation[] = []
  const sums = { sent: 0, acknowledged: 0, resent: 0, lost: 0, duplicated: 0, slowestAckMs: 0, recoveryMs: 0 }
  const figures: Record<string, number | string> = {}
  const violate = (checker: Violation['checker'], message: string) => { violations.push({ checker, message }) }
  const count = (name: string, more: number) => { figures[name] = Number(figures[name] ?? 0) + more }
  let accounts = 0
  let missingBefore = 0

  /** Lets devices and publishers work while `hurt` runs, then compares everything. */
  async function keep (stage: Stage, ward: Ward, hurt: () => Promise<void>): Promise<void> {
    const ledgerPath = join(dir, `ledger-${++accounts}`)
    const prefix = `cluster${accounts}`
    await publisher.run({
      ...load,
      mqttPort: stage.mqttPort,
      httpPort: stage.httpPort,
      ledgerPath,
      prefix,
      seed: seed + accounts * 10_007,
      numbering: { first: 0, step: 1 }
    })
    ward.startPublishing()
    await hurt()
    ward.stopPublishing()
    const { sent, resent, disconnects } = await drain(publisher, violate)
    const writers = stage.kafka === null ? 'gateways' : 'sinks'
    for (const { options: { httpPort } } of stage.gateways) await settle(httpPort, stage.query, violate, writers)
    const httpPorts = stage.sinks.map(({ options: { httpPort } }) => httpPort)
    const partitions = TOPICS.length * (stage.kafka?.partitions ?? 0)
    await settleReaders({ role: 'sink', httpPorts, partitions, timeoutMs: settleMs }, violate)
    await untilIdle(stage.query, 'state <> \'idle\'')
    await publisher.endAccount()
    await judgeSessions(ward)
    count('averagesCompared', await judgeAverages(stage.query, violate))
    count('statesOfRedisCompared', await judgeCopy(stage))
    const mayLose = ({ acknowledgedAtMs }: Entry) => stage.excused.some(({ fromMs, toMs }) =>
      acknowledgedAtMs !== null && acknowledgedAtMs >= fromMs && acknowledgedAtMs <= toMs)
    const { findings, waits } = await judgeAccount({ query: stage.query, prefix, mayLose, ledgerPaths: [ledgerPath], measures: [] })
    violations.push(...findings.violations)
    for (const entry of findings.lost.slice(0, 5)) violate('C1', `acknowledged and lost: ${tell(entry)}`)
    if (findings.lostCount > 5) violate('C1', `acknowledged and lost: ${findings.lostCount} in all`)
    sums.sent += sent
    sums.resent += resent
    sums.acknowledged += findings.acknowledged
    sums.lost += findings.lostCount
    if (findings.lostToDamage > 0) count('lostWithTopic', findings.lostToDamage)
    sums.duplicated += findings.duplicated
    sums.slowestAckMs = Math.max(sums.slowestAckMs, waits.slowestMs)
    figures['slowestAnswerMs'] = Math.max(Number(figures['slowestAnswerMs'] ?? 0), waits.slowestAnswerMs)
    count('disconnects', disconnects)
  }

  async function judgeSessions (ward: Ward): Promise<void> {
    if (await until(() => ward.unacknowledged === 0, ARRIVE_TIMEOUT_MS) === null) {
      violate('expected', `${ward.unacknowledged} messages for sessions were not acknowledged`)
    }
    await until(() => ward.missing() <= missingBefore, ARRIVE_TIMEOUT_MS)
    const missing = ward.missing()
    if (missing > missingBefore) {
      violate('expected', `${missing - missingBefore} deliveries that sessions are owed never came`)
      for (const line of ward.tellMissing(MISSING_TOLD)) onRemark(line)
    }
    missingBefore = Math.max(missing, missingBefore)
  }

  return { violations, sums, figures, violate, count, keep }
}
