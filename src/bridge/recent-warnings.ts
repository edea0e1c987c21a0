/** Warnings of what happened once, or now and then: shown for a while behind the last time, and logged the first time of each while. */
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
