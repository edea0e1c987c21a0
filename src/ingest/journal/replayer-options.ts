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
  /** Of new traffic; the replay's own are no shorter. */
  readonly commitTimeoutMs: number
  /** Of the journal: rejects when the target does not take it in time. */
  readonly write: (submissions: readonly Submission[], timeoutMs: number) => Promise<void>
  /** Called once a set was taken. @param segments - names of those that its records are of */
  readonly onReplayed?: ((segments: ReadonlySet<string>) => void) | undefined
  /** What is not replayed; without, everything is. */
  readonly erased?: Pick<ErasedDevices, 'of'> | undefined
  /** Whether new traffic waits for the target. */
  readonly isBusy: () => boolean
}
