import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The message to the process. */
export interface IdleQuestion {
  readonly argon2id: string
  readonly password: Uint8Array
}

/** Its answer. */
export type IdleAnswer = { readonly isRight: boolean } | { readonly error: string }

/** `.ts` where a loader runs the sources. */
const PROGRAM = fileURLToPath(new URL(import.meta.url.endsWith('.ts')
  ? 'idle-process.ts'
  : 'idle-process.js', import.meta.url))

let child: ChildProcess | null = null

function start (): ChildProcess {
  const started = fork(PROGRAM, { serialization: 'advanced', stdio: 'ignore' })
  const forget = () => { if (child === started) child = null }
  // These listeners stay while no check is pending: an unhandled 'error' would end the gateway.
  started.on('close', forget).on('error', forget)
  started.unref()
  return started
}

/**
 * Checks a password against an argon2id hash with spare time of the processor: at once on an idle machine, slowly on a
 * busy one. One at a time. The process is started with the first check, and takes 60 MiB.
 * @throws when the hash cannot be read, or the process has ended
 */
export async function verifyIdly (argon2id: string, password: Buffer): Promise<boolean> {
  const asked = child ??= start()
  const ended = new AbortController()
  const onEnd = () => { ended.abort(new Error('the process that checks passwords has ended')) }
  asked.once('close', onEnd).once('error', onEnd)
  try {
    asked.ref()
    asked.channel?.ref()
    asked.send({ argon2id, password } satisfies IdleQuestion)
    const [answer] = await once(asked, 'message', { signal: ended.signal }) as [IdleAnswer]
    if ('error' in answer) throw new Error(answer.error)
    return answer.isRight
  } finally {
    // Only a pending check keeps the gateway from ending.
    asked.channel?.unref()
    asked.unref()
    asked.off('close', onEnd).off('error', onEnd)
  }
}
