import { createSignals, type Signals } from './signals.ts'

/**
 * The first lines of a process that serves: signals are taken over, and a process that may open too few files ends with
 * a line that says so. The program itself is loaded afterwards, because that takes some tenths of a second.
 */
export async function begin (load: () => Promise<(signals: Signals) => void>): Promise<void> {
  const signals = createSignals()
  const { toDescriptorRefusal } = await import('./descriptors.ts')
  const refusal = toDescriptorRefusal()
  if (refusal !== null) {
    process.stderr.write(`${refusal}\n`)
    process.exit(1)
  }
  const serve = await load()
  serve(signals)
}
