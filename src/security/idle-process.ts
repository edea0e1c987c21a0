// Checks passwords in a process of its own, which runs only while the processor is idle. Forked by idle-verify.ts.
import { execFile } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import { verifySync } from '@node-rs/argon2'
import type { IdleAnswer, IdleQuestion } from './idle-verify.ts'

yieldToOthers()
process.on('disconnect', () => { process.exit() })
// A terminal sends SIGINT to every process of the group. The gateway ends when its last batch is durable, and this
// process with it.
process.on('SIGINT', () => {})
process.on('message', ({ argon2id, password }: IdleQuestion) => { process.send?.(answerTo(argon2id, password)) })

function answerTo (argon2id: string, password: Uint8Array): IdleAnswer {
  try {
    return { isRight: verifySync(argon2id, password) }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}

/**
 * Linux' scheduling class SCHED_IDLE: every other process that wakes preempts this one at once. A nice value of 19 alone
 * would leave it its slice of 3 ms. Node has no call for the class. Without chrt (util-linux, busybox) the process
 * stays at that nice value.
 */
function yieldToOthers (): void {
  setPriority(constants.priority.PRIORITY_LOW)
  execFile('chrt', ['-i', '-p', '0', String(process.pid)], () => {})
}
