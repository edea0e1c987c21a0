import axe from 'axe-core'
import type { Page } from 'playwright-core'

/** Serious and critical findings of axe in the current state of a page. */
export async function findFaults (page: Page): Promise<string[]> {
  // Injected by the debugger, because the page's content security policy does not apply to it.
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate('axe.run({ resultTypes: ["violations"] })') as {
    violations: ReadonlyArray<{ id: string, impact: string, nodes: ReadonlyArray<{ html: string }> }>
  }
  return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)
}
