import type { MqttClient } from 'mqtt'

/** A reading with a heart rate. It is refused if the value is not a number. */
export const toReading = (timestamp: number, heartRateValue: unknown) => ({ timestamp, heartRateValue })

/** Settles when the reading, or the array of several, is acknowledged. */
export const publishAs = (client: MqttClient, device: string, ...readings: object[]) =>
  client.publishAsync(`vital/${device}`, JSON.stringify(readings.length === 1 ? readings[0] : readings), { qos: 1 })
