import axe from 'axe-core'
import type { Page } from 'playwright-core'

/** Serious and critical findings of axe in what a page shows now. */
export async function findFaults (page: Page): Promise<string[]> {
  // By the debugger, which the policy does not bind.
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate('axe.run({ resultTypes: ["violations"] })') as {
    violations: ReadonlyArray<{ id: string, impact: string, nodes: ReadonlyArray<{ html: string }> }>
  }
  return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)
}
