/** An account that has come to rest, judged in one pass over its ledgers: a pass of 12 million entries takes minutes. */
import { rm } from 'node:fs/promises'
import { type Findings, StoredCheck, type StoredCheckOptions } from '../../harness/checks/stored.ts'
import { type Measure, readParts } from '../../harness/checks/ledger-file.ts'
import { measureWaits, NO_WAITS, type Waits } from './waits.ts'

/**
 * @param account.ledgerPaths - closed; removed afterwards, because a campaign has hundreds
 * @param account.measures - further measures that a fault needs, in the same pass
 */
export async function judgeAccount ({ ledgerPaths, measures, ...options }: StoredCheckOptions & {
  ledgerPaths: readonly string[], measures: readonly Measure[]
}): Promise<{ findings: Findings, waits: Waits }> {
  const check = new StoredCheck(options)
  let waits = NO_WAITS
  for await (const part of readParts(...ledgerPaths)) {
    await check.add(part)
    waits = measureWaits(part, waits)
    for (const measure of measures) measure.add(part)
  }
  const findings = await check.end()
  for (const path of ledgerPaths) await rm(path, { recursive: true })
  return { findings, waits }
}
