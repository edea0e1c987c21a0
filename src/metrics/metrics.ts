/**
 * The registry, and how a room adds its metrics to it (`src/reads/reads-metrics.ts` and its like; `describe.ts` lists
 * them).
 *
 * Values are read at the scrape instead of counted where things happen: prom-client's counters cost 150 ns a call.
 * prom-client 15.1.3 runs every `collect` of a scrape before its first await, so all values of one answer belong to the
 * same instant, and the ledger balances in each (`test/metrics/metrics.test.ts`).
 */
import { collectDefaultMetrics, Counter, Gauge, type Metric, Registry } from 'prom-client'
import { CountingHistogram } from './histogram.ts'

/** A value and its labels. */
export type Series<Label extends string> = readonly [labels: Readonly<Record<Label, string>>, value: number]

export interface Metrics {
  readonly registry: Registry
  /** @param read - the total since the start */
  counter (name: string, help: string, read: () => number): void
  /** The same with labels. */
  counters<Label extends string> (
    name: string, help: string, labelNames: readonly Label[], read: () => Iterable<Series<Label>>
  ): void
  gauge (name: string, help: string, read: () => number): void
  /** The same with labels. */
  gauges<Label extends string> (
    name: string, help: string, labelNames: readonly Label[], read: () => Iterable<Series<Label>>
  ): void
  /** A series for each state, 1 for the one that `read` returns. */
  stateGauge<State extends string> (name: string, help: string, states: readonly State[], read: () => State): void
  /** @returns takes one observation */
  histogram (name: string, help: string, buckets: number[]): (value: number) => void
  /** The text exposition. */
  render (): Promise<string>
}

/** An empty registry; names of metrics are a contract. */
export function createMetrics (): Metrics {
  const registry = new Registry()
  const registers = [registry]
  return {
    registry,

    counter (name, help, read) {
      const counter = new Counter({
        name,
        help,
        registers,
        collect () {
          counter.reset()
          counter.inc(read())
        }
      })
    },

    counters (name, help, labelNames, read) {
      const counter = new Counter({
        name,
        help,
        labelNames,
        registers,
        collect () {
          counter.reset()
          for (const [labels, value] of read()) counter.inc(labels, value)
        }
      })
    },

    gauge (name, help, read) {
      const gauge = new Gauge({ name, help, registers, collect () { gauge.set(read()) } })
    },

    gauges (name, help, labelNames, read) {
      const gauge = new Gauge({
        name,
        help,
        labelNames,
        registers,
        collect () {
          gauge.reset()
          for (const [labels, value] of read()) gauge.set(labels, value)
        }
      })
    },

    stateGauge (name, help, states, read) {
      const gauge = new Gauge({
        name,
        help,
        labelNames: ['state'],
        registers,
        collect () {
          const current = read()
          for (const state of states) gauge.set({ state }, state === current ? 1 : 0)
        }
      })
    },

    histogram (name, help, buckets) {
      const histogram = new CountingHistogram(name, help, buckets)
      registry.registerMetric(histogram as unknown as Metric)
      return (value) => { histogram.observe(value) }
    },

    render: () => registry.metrics()
  }
}

/** Adds the metrics of prom-client for the process and for Node.js. */
export function addProcessMetrics ({ registry }: Metrics): void {
  collectDefaultMetrics({ register: registry })
}
