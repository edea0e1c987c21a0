import type { Logger } from 'pino'
import type { Circuit } from './circuit.ts'
import type { Ledger } from '../ledger.ts'
import type { Spool } from './spool/spool.ts'
import type { ErasedDevices } from './spool/erased-devices.ts'
import type { Target } from './target.ts'
import type { Submission } from '../submission.ts'

export interface ReplayerOptions {
  readonly spool: Spool
  readonly circuit: Circuit
  readonly ledger: Ledger
  readonly target: Pick<Target, 'name' | 'outcome'>
  readonly logger: Logger
  /** Time-out of new traffic; those of the replay are at least as long. */
  readonly commitTimeoutMs: number
  /** Writes to the target; rejects when the target does not take the set in time. */
  readonly write: (submissions: readonly Submission[], timeoutMs: number) => Promise<void>
  /** Called once a set was taken. @param segments - names of the segments that its records are from */
  readonly onReplayed?: ((segments: ReadonlySet<string>) => void) | undefined
  /** Erased devices, whose readings are not replayed. */
  readonly erased?: Pick<ErasedDevices, 'of'> | undefined
  /** Whether new traffic waits for the target. */
  readonly isBusy: () => boolean
}
