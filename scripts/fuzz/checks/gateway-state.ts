import { readdirSync } from 'node:fs'
import { sumMetric } from '../../command-line/prometheus-text.ts'

/** What the gateway holds while no attack is under way. */
export interface Checkpoint {
  readonly packets: number
  readonly heapBytes: number
  /** Buffers, outside the heap. */
  readonly externalBytes: number
  readonly rssBytes: number
  readonly descriptors: number
  readonly clients: number
  /** What clients may make the broker keep: sessions, subscriptions, retained messages. By metric. */
  readonly kept: Readonly<Record<string, number>>
}

const KEPT = /^vital_mqtt_(\w*(?:sessions|subscriptions|retained|queued|inbound)\w*?)(?:\{[^}]*\})? ([\d.e+]+)$/gm

/** @param packets - that were sent so far */
export async function readState (httpPort: number, pid: number, packets: number): Promise<Checkpoint> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(10_000) })).text()
  const kept: Record<string, number> = {}
  for (const [, name, value] of text.matchAll(KEPT)) {
    if (name !== undefined && !/_(?:max|total)$|refused|dropped/.test(name)) kept[name] = (kept[name] ?? 0) + Number(value)
  }
  return {
    packets,
    heapBytes: sumMetric(text, 'nodejs_heap_size_used_bytes'),
    externalBytes: sumMetric(text, 'nodejs_external_memory_bytes'),
    rssBytes: sumMetric(text, 'process_resident_memory_bytes'),
    descriptors: process.platform === 'linux' ? readdirSync(`/proc/${pid}/fd`).length : 0,
    clients: sumMetric(text, 'vital_mqtt_clients'),
    kept
  }
}

/** MQTT packets that the gateway has received since its start, those of well-behaved clients included. */
export async function readPacketsRead (httpPort: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(10_000) })).text()
  return sumMetric(text, 'vital_mqtt_packets_received_total')
}
