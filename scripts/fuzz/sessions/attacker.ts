// The attacker's process: apart from the harness, so that it delays neither the well-behaved clients nor the watch.
import { createAttacker } from './attack.ts'
import type { FromAttacker, ToAttacker } from '../messages.ts'

const tell = (message: FromAttacker) => { process.send?.(message) }
let attacker: ReturnType<typeof createAttacker> | null = null

process.on('message', (message: ToAttacker) => {
  if (message.type === 'settings') attacker = createAttacker(message.settings, tell)
  else {
    attacker?.attack(message).catch((error: unknown) => {
      tell({
        type: 'failed',
        message: error instanceof Error
          ? error.stack ?? error.message
          : String(error)
      })
    })
  }
})
process.on('disconnect', () => process.exit())
// Ctrl-C reaches the whole group; the harness decides when this process ends.
process.on('SIGINT', () => {})
