import { parseArgs, type ParseArgsConfig } from 'node:util'

/**
 * `parseArgs`, but for an option that takes one value and is given twice: there it keeps the last without a word, and what was asked
 * for with the first is not done.
 * @throws Error that names the option
 */
export function parseArgsOnce<T extends ParseArgsConfig> (config: T): ReturnType<typeof parseArgs<T>> {
  const seen = new Set<string>()
  const { tokens } = parseArgs({ ...config, tokens: true })
  for (const token of tokens as ReadonlyArray<{ readonly kind: string, readonly name?: string }>) {
    if (token.kind !== 'option' || token.name === undefined) continue
    const option = config.options?.[token.name]
    if (seen.has(token.name) && option?.type === 'string' && option.multiple !== true) throw new Error(`--${token.name} is given twice, and takes one value`)
    seen.add(token.name)
  }
  return parseArgs(config)
}
