import { createSignals } from './operations/signals.ts'

const signals = createSignals()
// Loaded after the signals were taken over, for it takes some tenths of a second.
const { serve } = await import('./serve.ts')
serve(signals)
