/** What the README promises about names is compared with the code that has them. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { EnvironmentSchema } from '../schemas/environment.ts'
import { describeMetrics } from '../src/metrics/describe.ts'

const ROOT = resolve(import.meta.dirname, '..')
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')

function tableOf (name: string): string[][] {
  const [, table] = new RegExp(`<!-- ${name}:begin -->\\n([^]*?)<!-- ${name}:end -->`).exec(readme) ?? []
  return (table ?? '').trim().split('\n').slice(2).map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()))
}

t.test('every environment variable stands in the README and in .env.example, with its default', (t) => {
  const example = readFileSync(join(ROOT, '.env.example'), 'utf8')
  const rows = new Map(tableOf('configuration').map(([name, byDefault]) => [name, byDefault]))
  for (const [name, schema] of Object.entries(EnvironmentSchema.properties)) {
    const byDefault = 'default' in schema && schema.default !== '' ? String(schema.default) : null
    t.equal(rows.get(`\`${name}\``), byDefault === null ? 'unset' : `\`${byDefault}\``, name)
    t.match(example, new RegExp(`^#${name}=${(byDefault ?? '').replaceAll('.', '\\.')}$`, 'm'), name)
  }
  t.equal(rows.size, Object.keys(EnvironmentSchema.properties).length, 'no other name stands in the table')
  t.end()
})

t.test('every metric of ours stands in the README, with its labels', (t) => {
  const { registry } = describeMetrics()
  const rows = new Map(tableOf('metrics').map(([name, type, labels]) => [name, { type, labels }]))
  const metrics = registry.getMetricsAsArray().filter(({ name }) => name.startsWith('vital_'))
  t.ok(metrics.length > 20)
  for (const metric of metrics) {
    const { name } = metric
    const labels = (metric as unknown as { labelNames: readonly string[] }).labelNames
    t.equal(rows.get(`\`${name}\``)?.labels, labels.map((label) => `\`${label}\``).join(' '), name)
  }
  t.equal(rows.size, metrics.length, 'no other name stands in the table')
  t.end()
})
