import type { DeviceChange } from '../connection/changes.ts'
import { staleAfterS, toShown, VITAL_SIGNS, type VitalSign } from '../vital-signs.ts'

/** Heart rate of the last five minutes, a point every five seconds. */
export const SPARK_POINTS = 60
export const SPARK_STEP_S = 5

/** A refusal stays a state of its device for this time. */
const REFUSED_SHOWN_S = 300

export interface Refusal {
  readonly device: string
  /** Unix seconds. */
  readonly atS: number
  readonly reason: string
  readonly message: string
}

export interface Device {
  readonly id: string
  /** Of the newest reading, Unix seconds. */
  timestampS: number
  vitals: Record<string, unknown>
  times: Record<string, number>
  /** Between two readings; `null` until two came. */
  intervalS: number | null
  refusal: Refusal | null
  /** As it came; `null` until one came since the page was opened. */
  payload: string | null
  readonly spark: Float32Array
  /** The step of {@link SPARK_STEP_S} that the last point stands for. */
  sparkStep: number
}

interface Resource {
  readonly deviceId: string
  readonly timestamp: number
  readonly vitals: Record<string, unknown>
  readonly vitalTimestamps: Record<string, number>
}

type Range = readonly [number, number]
export type Limits = Readonly<Record<string, Readonly<Record<string, Range>>>>

export type DeviceState = 'refused' | 'out' | 'silent' | 'normal'

/**
 * The latest state of every device, as listed by HTTP and kept up to date by the changes, and by MQTT for devices in
 * view. Pure: it uses neither a clock nor the network.
 */
export function createFleet () {
  const devices = new Map<string, Device>()
  /** Sorted prefixes, the longest first. */
  let limits: ReadonlyArray<readonly [string, Readonly<Record<string, Range>>]> = []
  let version = 0

  function open (id: string): Device {
    let device = devices.get(id)
    if (device === undefined) {
      device = {
        id,
        timestampS: 0,
        vitals: {},
        times: {},
        intervalS: null,
        refusal: null,
        payload: null,
        spark: new Float32Array(SPARK_POINTS).fill(NaN),
        sparkStep: 0
      }
      devices.set(id, device)
      version++
    }
    return device
  }

  function merge (device: Device, field: string, value: unknown, atS: number): void {
    if (atS < (device.times[field] ?? -Infinity)) return
    device.vitals[field] = value
    device.times[field] = atS
  }

  /** The ranges that a vital sign has left: none where no limits are set, or where the value is not current. */
  function rangesLeft (device: Device, sign: VitalSign, nowS: number): Range[] {
    const own = limits.length === 0 ? undefined : limits.find(([prefix]) => device.id.startsWith(prefix))?.[1]
    if (own === undefined) return []
    // A sign has one range, whichever of its names a device uses. Blood pressure has two values.
    const field = sign.fields.find((name) => typeof device.vitals[name] === 'number')
    const checked = [
      [field, sign.fields.map((name) => own[name]).find((range) => range !== undefined)],
      [sign.lowField, sign.lowField === undefined ? undefined : own[sign.lowField]]
    ] as const
    const left = checked.flatMap(([name, range]) => {
      const value = name === undefined ? undefined : device.vitals[name]
      return range !== undefined && typeof value === 'number' && (value < range[0] || value > range[1]) ? [range] : []
    })
    return left.length > 0 && toShown(sign, device, nowS).isStale ? [] : left
  }

  return {
    devices,
    /** Grows with each device that comes or goes. */
    get version (): number { return version },
    clear (): void {
      devices.clear()
      version++
    },
    setLimits (given: Limits): void {
      limits = Object.entries(given).sort(([a], [b]) => b.length - a.length)
    },

    /** Takes the answer of `GET /vital-data` for one device. */
    list ({ deviceId, timestamp, vitals, vitalTimestamps }: Resource): void {
      const device = open(deviceId)
      if (timestamp > device.timestampS) device.timestampS = timestamp
      for (const [field, value] of Object.entries(vitals)) merge(device, field, value, vitalTimestamps[field] ?? timestamp)
    },

    /** Takes a reading as it was published. A time ahead of its receipt counts as of its receipt. */
    read (id: string, reading: Record<string, unknown>, payload: string, receivedAtS: number): void {
      const { timestamp: sentAtS, device: _device, ...vitals } = reading
      if (typeof sentAtS !== 'number') return
      const timestamp = Math.min(sentAtS, receivedAtS)
      const device = open(id)
      const gapS = timestamp - device.timestampS
      if (device.timestampS > 0 && gapS > 0) device.intervalS = toInterval(device.intervalS, gapS)
      if (gapS > 0) device.timestampS = timestamp
      device.payload = payload
      for (const [field, value] of Object.entries(vitals)) merge(device, field, value, timestamp)
      if (typeof vitals['heartRateValue'] === 'number') addToSpark(device, timestamp, vitals['heartRateValue'])
    },

    /** Takes the changes of a device since the last answer. Some of them may have come by MQTT before. */
    change ({ id, firstS, lastS, count, values }: DeviceChange): void {
      const device = open(id)
      const { timestampS } = device
      // Where some of its readings came by MQTT, these tell how often it sends.
      if (timestampS === 0 && count > 1) device.intervalS = (lastS - firstS) / (count - 1)
      else if (timestampS > 0 && firstS > timestampS) device.intervalS = toInterval(device.intervalS, (lastS - timestampS) / count)
      if (lastS > timestampS) device.timestampS = lastS
      for (const [field, value, atS] of values) {
        if (field === 'heartRateValue' && atS >= (device.times[field] ?? -Infinity)) addToSpark(device, atS, value)
        merge(device, field, value, atS)
      }
    },

    /** Takes readings of the history, newest first: they fill the sparkline and tell how often the device sends. */
    recall (id: string, readings: ReadonlyArray<{ readonly timestamp: number, readonly vitals: Readonly<Record<string, unknown>> }>): void {
      const device = open(id)
      let beforeS: number | null = null
      for (const { timestamp, vitals } of readings.toReversed()) {
        const heartRate = vitals['heartRateValue']
        if (typeof heartRate === 'number') addToSpark(device, timestamp, heartRate)
        if (beforeS !== null && timestamp > beforeS) device.intervalS = toInterval(device.intervalS, timestamp - beforeS)
        beforeS = timestamp
      }
    },

    /** Keeps the newest refusal of a device; an old refusal of an unknown device is ignored. */
    refuse (refusal: Refusal, nowS: number): void {
      if (!devices.has(refusal.device) && nowS - refusal.atS >= REFUSED_SHOWN_S) return
      const device = open(refusal.device)
      if (refusal.atS >= (device.refusal?.atS ?? 0)) device.refusal = refusal
    },

    /** The state that a badge names; the most urgent one. */
    stateOf (device: Device, nowS: number): DeviceState {
      if (device.refusal !== null && nowS - device.refusal.atS < REFUSED_SHOWN_S) return 'refused'
      if (nowS - device.timestampS > staleAfterS(device.intervalS)) return 'silent'
      return VITAL_SIGNS.some((sign) => rangesLeft(device, sign, nowS).length > 0) ? 'out' : 'normal'
    },
    rangesLeft,
    /** Whether the operator set limits at all. */
    get hasLimits (): boolean { return limits.length > 0 }
  }
}

export type Fleet = ReturnType<typeof createFleet>

/** Smooths the interval between readings, so that one gap counts for little. */
function toInterval (intervalS: number | null, gapS: number): number {
  return intervalS === null ? gapS : Math.min(intervalS * 1.5, intervalS * 0.8 + gapS * 0.2)
}

/** Puts a value into its step, and empties the steps between, so that a gap stays a gap. */
function addToSpark (device: Device, atS: number, value: number): void {
  const step = Math.floor(atS / SPARK_STEP_S)
  if (step > device.sparkStep) {
    const from = Math.max(device.sparkStep + 1, step - SPARK_POINTS + 1)
    for (let empty = from; empty < step; empty++) device.spark[empty % SPARK_POINTS] = NaN
    device.sparkStep = step
  } else if (step <= device.sparkStep - SPARK_POINTS) return
  device.spark[step % SPARK_POINTS] = value
}
