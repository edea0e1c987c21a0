import type { FuzzOptions } from '../options.ts'
import type { FuzzOutcome } from '../run.ts'
import { TARGETS } from '../sessions/session.ts'

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const count = (value: number) => value.toLocaleString('en-GB')

/** How to make the same run again; after a failure also from the oldest session that was under way. */
function repeatCommand ({ seed, targets, packets, seconds }: FuzzOptions, from: number): string {
  const end = Number.isFinite(packets) ? `--packets ${packets}` : `--seconds ${seconds}`
  const target = targets.length === TARGETS.length ? '' : ` --target ${targets.join(',')}`
  return `npm run fuzz -- --seed ${seed} ${end}${target}${from > 0 ? ` --from ${from}` : ''}`
}

export function formatOutcome (options: FuzzOptions, outcome: FuzzOutcome): string {
  const { attack, packetsRead, attackS, good, ledger, checkpoints, violations } = outcome
  const sent = TARGETS.filter((target) => attack.packetsByTarget[target] > 0)
  const statuses = Object.entries(attack.statuses).sort()
  const lines = [
    `seed ${options.seed}: ${count(attack.packets)} packets in ${count(attack.sessions)} sessions, ${mib(attack.bytes)}, ` +
      `in ${attackS} s (${count(Math.round(attack.packets / Math.max(attackS, 0.1)))}/s)`,
    `  sent       ${sent.map((target) => `${target} ${count(attack.packetsByTarget[target])}`).join(', ')}; ` +
      `MQTT packets read by the gateway ${count(packetsRead)}`,
    `  answered   ${count(attack.pubacks)} PUBACK and PUBREC; ` +
      `HTTP ${statuses.map(([status, times]) => `${status}: ${count(times)}`).join(', ')}; ` +
      `closed by the gateway ${count(attack.closedByGateway)}`,
    `  good       ${count(good.acknowledged)} readings acknowledged, p99 ${good.p99Ms} ms, slowest ${good.slowestMs} ms ` +
      `(the machine paused for ${good.machinePauseMs} ms at most)`,
    `  ledger     ${Object.entries(ledger).map(([name, value]) => `${name} ${count(value)}`).join(', ')}`,
    '  at rest    packets       heap    buffers   resident  descriptors',
    ...checkpoints.map(({ packets, heapBytes, externalBytes, rssBytes, descriptors }) =>
      `       ${count(packets).padStart(15)} ${mib(heapBytes).padStart(10)} ${mib(externalBytes).padStart(10)} ` +
        `${mib(rssBytes).padStart(10)} ${String(descriptors).padStart(12)}`),
    `  peak       ${mib(outcome.peakRssBytes)} resident, ${outcome.peakDescriptors} descriptors`
  ]
  if (violations.length > 0) {
    lines.push('', `FAILED, seed ${options.seed}`, ...violations.map(({ check, message }) => `  ${check}: ${message}`))
    lines.push('', `the same run again:  ${repeatCommand(options, options.from)}`)
    if (attack.oldestSession > options.from) lines.push(`from what was under way:  ${repeatCommand(options, attack.oldestSession)}`)
  }
  return lines.join('\n')
}
