import { constants, setPriority } from 'node:os'
import { AttackGround, type AttackReport, type AttackSettings } from './attack-ground.ts'
import { ATTACKS } from './attack-kinds.ts'

// One attack, until it is stopped. A real attacker has a machine of its own; this one gets what the others leave.
setPriority(constants.priority.PRIORITY_LOW)

process.on('disconnect', () => process.exit())
process.once('message', (settings: AttackSettings) => {
  const ground = new AttackGround(settings)
  const cpu = process.cpuUsage()
  const startMs = performance.now()
  ATTACKS[settings.name]?.run(ground)
  process.once('message', () => {
    const { user, system } = process.cpuUsage(cpu)
    const report: AttackReport = {
      attempts: ground.attempts, closed: ground.closed, cpuCores: (user + system) / 1000 / (performance.now() - startMs)
    }
    process.send?.(report)
  })
})
