import type { Test } from 'tap'
import { readReadingRecord } from '../../src/kafka/reading-record.ts'
import type { GatewayProcess } from '../helpers/gateway-process.ts'
import { readTopic, type RunningKafka } from '../helpers/kafka.ts'

/** The heart rates of a device in the log, ascending, with duplicates. */
export async function readDevice (t: Test, kafka: Pick<RunningKafka, 'brokers'>, device: string): Promise<number[]> {
  const values: number[] = []
  for (const record of await readTopic(t, kafka, 'vital.readings')) {
    const read = readReadingRecord(record)
    if (read.kind === 'read' && read.value.row.device === device) values.push(Number(read.value.row.fields['heartRateValue']))
  }
  return values.sort((a, b) => a - b)
}

export async function findPort (gateway: GatewayProcess, protocol: 'mqtt' | 'http'): Promise<number> {
  await gateway.said(/^ready/)
  return gateway.lines.find((line) => line.msg === 'listening' && line.protocol === protocol)!.port!
}

export const range = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index)
