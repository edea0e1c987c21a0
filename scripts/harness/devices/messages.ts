/** The load that the devices of a publisher make. */
export interface Load {
  /** MQTT devices. */
  readonly devices: number
  readonly httpDevices: number
  /** Readings each second, all devices together. */
  readonly ratePerS: number
  /** Packets of one device that may be unacknowledged; at this bound a device makes no new reading. */
  readonly window: number
  readonly keepaliveS: number
  /** Of the MQTT devices; 4: MQTT 3.1.1. */
  readonly protocolVersion: 4 | 5
  /** Publishes that each MQTT device holds before it connects. */
  readonly backlog: number
  /** Share of readings that break a rule of the gateway, and so must become dead letters. */
  readonly invalidShare: number
  /** Share of readings that only PostgreSQL refuses, or that JSON and PostgreSQL disagree about. */
  readonly poisonShare: number
  /** Every `qos2Every`-th MQTT device publishes with QoS 2. */
  readonly qos2Every: number
  /** Readings in each publish; 0: mostly one, at times a few. */
  readonly arrayReadings: number
  /** Random text in each reading, which no compression makes smaller. */
  readonly blobBytes: number
  /** Of the samples in a reading that has some. */
  readonly waveformBytesMin: number
  /** Samples in a reading, of another size each time, small ones as often as large ones; 0: none. */
  readonly waveformBytesMax: number
  /** Share of readings that carry samples; those of an array carry none, because it has to fit into one packet. */
  readonly waveformShare: number
  /** The gateway needs credentials: each device is a principal with a secret of its own. */
  readonly isIdentified: boolean
}

/** With its other fields such a reading stays below `VITAL_PACKET_BYTES_MAX`. */
const WAVEFORM_BYTES_MAX = 250_000

/** For a fault without a value of its own. */
export const DEFAULT_LOAD: Load = {
  devices: 40,
  httpDevices: 4,
  ratePerS: 1000,
  window: 40,
  keepaliveS: 10,
  protocolVersion: 4,
  backlog: 0,
  invalidShare: 0.01,
  poisonShare: 0,
  qos2Every: 8,
  arrayReadings: 0,
  blobBytes: 0,
  waveformBytesMin: 1,
  waveformBytesMax: WAVEFORM_BYTES_MAX,
  waveformShare: 0.001,
  isIdentified: false
}

/** Sent by the harness to its publisher process. */
export interface PublisherSettings extends Load {
  readonly mqttPort: number
  readonly httpPort: number
  readonly ledgerPath: string
  /** Prefix of every device id; new for each account. */
  readonly prefix: string
  readonly seed: number
  /** Two publishers with the same devices count by twos, one from 0, one from 1. */
  readonly numbering: { readonly first: number, readonly step: number }
}

export interface PublisherFigures {
  readonly sent: number
  readonly acknowledged: number
  /** Of the acknowledged: a reason code of 0x80 or more, so that the device dropped it. */
  readonly refused: number
  readonly resent: number
  readonly unacknowledged: number
  readonly connected: number
  /** Connections that ended after CONNACK. */
  readonly disconnects: number
  /** Reason code of DISCONNECT → how often the gateway sent it. */
  readonly disconnectCodes: Readonly<Record<number, number>>
  /** Faults of the protocol that the devices saw, such as acknowledgements out of order. */
  readonly faults: readonly string[]
}

export type ToPublisher =
  | { readonly type: 'run', readonly settings: PublisherSettings }
  /** Makes no new readings, or makes them again; unacknowledged ones are resent in any case. */
  | { readonly type: 'making', readonly isMaking: boolean }
  | { readonly type: 'figures' }
  /** Ends the account: closes the connections and the file. */
  | { readonly type: 'end' }

export type FromPublisher =
  | { readonly type: 'figures', readonly figures: PublisherFigures }
  | { readonly type: 'running' }
  | { readonly type: 'ended' }
  | { readonly type: 'failed', readonly message: string }
