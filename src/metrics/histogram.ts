/** One line of the text exposition. */
interface Sample {
  readonly metricName: string
  readonly labels: { readonly le?: number | '+Inf' }
  readonly value: number
}

/**
 * A histogram without labels, for values that are observed with each message. It costs a few additions. `observe` of
 * prom-client 15.1.3 builds a closure, two objects and a key for each value: 2 % of the CPU of an acknowledgement.
 *
 * It is a metric as prom-client's registry asks for it (`Registry.registerMetric`).
 */
export class CountingHistogram {
  readonly name: string
  readonly help: string
  readonly type = 'histogram'
  readonly labelNames: readonly string[] = []
  readonly aggregator = 'sum'
  readonly #upperBounds: readonly number[]
  /** How many values lie under each bound and over the one before; the last one counts values over all bounds. */
  readonly #counts: number[]
  #sum = 0

  /** @param upperBounds - of the buckets, ascending */
  constructor (name: string, help: string, upperBounds: readonly number[]) {
    this.name = name
    this.help = help
    this.#upperBounds = upperBounds
    this.#counts = new Array<number>(upperBounds.length + 1).fill(0)
  }

  observe (value: number): void {
    const bounds = this.#upperBounds
    let bucket = 0
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++
    this.#counts[bucket]!++
    this.#sum += value
  }

  get (): Promise<{
    readonly name: string, readonly help: string, readonly type: 'histogram', readonly values: readonly Sample[]
  }> {
    const { name, help, type } = this
    let count = 0
    const values: Sample[] = this.#counts.map((ofBucket, bucket) => {
      count += ofBucket
      return { metricName: `${name}_bucket`, labels: { le: this.#upperBounds[bucket] ?? '+Inf' }, value: count }
    })
    values.push({ metricName: `${name}_sum`, labels: {}, value: this.#sum })
    values.push({ metricName: `${name}_count`, labels: {}, value: count })
    return Promise.resolve({ name, help, type, values })
  }
}
