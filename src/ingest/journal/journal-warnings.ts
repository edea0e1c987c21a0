import type { Circuit } from './circuit.ts'
import type { Spool } from './spool/spool.ts'
import type { Target } from './target.ts'

/** Conditions that weaken the promise now, reported in readiness. */
export function toWarnings (
  { name }: Pick<Target, 'name'>, circuit: Pick<Circuit, 'state'>, spool: Pick<Spool, 'status' | 'damage' | 'setAsideFiles'>
): string[] {
  const warnings: string[] = []
  if (circuit.state !== 'closed') warnings.push(`${name} does not take readings; they go to the spool`)
  if (spool.status === 'full') warnings.push('the spool is full: raise VITAL_SPOOL_BYTES_MAX or free its disk')
  if (spool.status === 'failed') warnings.push('the disk of the spool fails')
  if (spool.damage.stretches > 0) {
    warnings.push('the disk destroyed a part of the spool; its files are kept aside as *.damaged')
  }
  if (spool.setAsideFiles > 0) {
    warnings.push(`${name} did not take ${spool.setAsideFiles} spooled readings by themselves; ` +
      'each is in the directory of the spool as aside-*.json')
  }
  return warnings
}
