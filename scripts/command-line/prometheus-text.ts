const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)$/gm

/**
 * Sums a metric over its labels.
 * @param text - Prometheus' text exposition format
 * @param isWanted - of a sample's labels, as they are written between the braces
 * @returns 0 where there is no such sample
 */
export function sumMetric (text: string, name: string, isWanted: (labels: string) => boolean = () => true): number {
  let sum = 0
  for (const [, sample, labels = '', value] of text.matchAll(SAMPLE)) if (sample === name && isWanted(labels)) sum += Number(value)
  return sum
}
