import { toNodeRefusal } from './operations/node-version.ts'
import { createSignals } from './operations/signals.ts'

// Before anything is loaded that an older one cannot read.
const refusal = toNodeRefusal(process.versions.node)
if (refusal !== null) {
  process.stderr.write(`${refusal}\n`)
  process.exit(1)
}

const signals = createSignals()
const { answerEarly } = await import('./operations/command-line.ts')
const answer = answerEarly(process.argv.slice(2))
if (answer !== null) {
  const out = answer.status === 0 ? process.stdout : process.stderr
  out.write(answer.text)
  process.exit(answer.status)
}
// Loaded after the signals were taken over, for it takes some tenths of a second.
const { serve } = await import('./serve.ts')
serve(signals)
