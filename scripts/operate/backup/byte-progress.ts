import { createProgress } from '../../command-line/progress.ts'
import type { ProgressStream } from '../../command-line/surroundings.ts'
import { toMiB } from './space.ts'

/** Progress in bytes, printed in MiB. */
export function createByteProgress (what: string, totalBytes: number, stream: ProgressStream) {
  const total = Math.max(1, toMiB(totalBytes))
  const progress = createProgress({ label: `${what}, MiB`, total, stream })
  let done = 0
  return {
    add (bytes: number): void {
      done += bytes
      progress.update(toMiB(done))
    },
    stop (): void {
      progress.stop()
    }
  }
}
