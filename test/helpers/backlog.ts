import type { Test } from 'tap'
import { readPeakRssBytes, readTreeCpuS } from '../../scripts/harness/process-stat.ts'
import type { ReadingRow } from '../../db/rows.ts'
import { toRow } from '../sink/rig.ts'
import { until } from './until.ts'

const DEVICES = 1000
const WRITTEN_AT_ONCE = 5000
/** 2025-06-18 09:46:40 UTC. */
const FIRST_S = 1_750_240_000

/** Readings of three vital signs and 1,000 devices in parts. @param hours - over which their times are spread */
export function * toBacklog (count: number, hours = 0): Generator<ReadingRow[]> {
  for (let from = 0; from < count; from += WRITTEN_AT_ONCE) {
    yield Array.from({ length: Math.min(WRITTEN_AT_ONCE, count - from) }, (_, n) => {
      const number = from + n
      const hour = hours === 0 ? 0 : number % hours
      return toRow(`device-${number % DEVICES}`, FIRST_S + hour * 3600 + Math.floor(number / DEVICES), {
        heartRateValue: 60 + number % 40 / 4, spo2Value: 97, breathRateValue: 12 + number % 9
      })
    })
  }
}

/** Writes the CPU and memory that a process takes until all readings are handled to the test's output. */
export async function measure (
  t: Test, { pid, readings, isDone, timeoutMs }: {
    readonly pid: number
    readonly readings: number
    readonly isDone: () => Promise<boolean>
    readonly timeoutMs: number
  }
): Promise<void> {
  const [cpuS, startedMs, startedBytes] = [readTreeCpuS(pid), performance.now(), readPeakRssBytes(pid) ?? NaN]
  await until(isDone, 'all readings to be written', timeoutMs)
  const [tookS, usedS] = [(performance.now() - startedMs) / 1000, (readTreeCpuS(pid) ?? NaN) - (cpuS ?? NaN)]
  t.comment(`${Math.round(readings / tookS)} readings/s; of the process ${(usedS / readings * 1e6).toFixed(1)} CPU s a million readings, ` +
    `${Math.round((readPeakRssBytes(pid) ?? NaN) / 1024 / 1024)} MiB at most, ${Math.round(startedBytes / 1024 / 1024)} MiB at first`)
}
