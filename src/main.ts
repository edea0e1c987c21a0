import { createSignals } from './process/signals.ts'

const signals = createSignals()
const { toDescriptorRefusal } = await import('./process/descriptors.ts')
const refusal = toDescriptorRefusal()
if (refusal !== null) {
  process.stderr.write(`${refusal}\n`)
  process.exit(1)
}
// Loaded after the signals were taken over, for it takes some tenths of a second.
const { serve } = await import('./serve.ts')
serve(signals)
