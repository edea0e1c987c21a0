import { describeMetrics } from '../../src/metrics/describe.ts'
import { type Section, toCode, toMarkdownTable } from './markdown.ts'

/** What prom-client keeps of a metric and leaves out of its type. */
interface Described {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly labelNames?: readonly string[]
}

/** Every metric of the gateway's own, from its help text. Those of Node and of the process are prom-client's. */
export function metricsSections (): Section[] {
  const metrics = describeMetrics().registry.getMetricsAsArray() as unknown as readonly Described[]
  const rows = metrics.filter(({ name }) => name.startsWith('vital_'))
    .map(({ name, type, labelNames = [], help }) => [`\`${name}\``, type, toCode(labelNames), help])
  return [{
    file: 'src/metrics/README.md',
    name: 'metrics',
    text: toMarkdownTable(['metric', 'type', 'labels', ''],
      rows)
  }]
}
