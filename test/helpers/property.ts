import fc from 'fast-check'
import type { Test } from 'tap'

/** A property that fails is run again with `SEED`, and fast-check shrinks the input that breaks it. */
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)

/**
 * Checks that something holds for many inputs.
 * @param property - of `fc.property`
 * @param numRuns - number of inputs
 */
export function holds<Inputs> (t: Test, property: fc.IProperty<Inputs>, numRuns = 1000): void {
  const details = fc.check(property, { seed: SEED, numRuns })
  t.notOk(details.failed, fc.defaultReportMessage(details) ?? `${details.numRuns} inputs, SEED=${SEED}`)
}
