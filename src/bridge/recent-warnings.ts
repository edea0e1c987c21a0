/**
 * Warnings of single events. Each is shown for `toldMs` after the last event, and logged when it was not shown before.
 */
export function createRecentWarnings ({ toldMs, onNew }: { readonly toldMs: number, readonly onNew: (warning: string) => void }) {
  const lastMs = new Map<string, number>()
  const isRecent = (atMs: number | undefined) => atMs !== undefined && performance.now() - atMs < toldMs
  return {
    /** @param warning - one of a few sentences: no counts, no ids */
    note (warning: string): void {
      if (!isRecent(lastMs.get(warning))) onNew(warning)
      lastMs.set(warning, performance.now())
    },
    warnings: (): string[] => [...lastMs].flatMap(([warning, atMs]) => isRecent(atMs) ? [warning] : [])
  }
}
