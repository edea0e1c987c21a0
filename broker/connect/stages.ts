import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import type { LimitHits } from '../limit-hits.ts'
import type { BrokerLimits } from '../limits.ts'
import type { Origin } from '../listen/origin.ts'
import { noteConnect, type Traffic } from '../publish/packet-scanner.ts'
import { createAdmission } from './admission.ts'
import type { ConnectAuthentication } from './authentication.ts'
import { FirstByteWait } from './first-byte.ts'
import { type ConnectBody, ConnectBytes } from './connect-bytes.ts'
import { FirstPacketCheck } from './first-packet.ts'
import type { Login } from './login.ts'

interface StagesOptions {
  readonly verify: ConnectAuthentication['verifyFirst']
  /** Speaks MQTT with a connection. */
  readonly serve: (stream: Duplex, origin: Origin, login: Login | null) => void
  /** Speaks MQTT 5 with a connection. */
  readonly mqtt5: { serve (stream: Duplex, origin: Origin, connect: ConnectBody): void, stop (): void }
  readonly traffic: Traffic
  readonly hits: LimitHits
  readonly limits: BrokerLimits
  readonly logger: Logger
}

/** Wires the stages of a connection before Aedes has a client for it: admission, first byte, version, first packet. */
export function createConnectStages ({ verify, serve, mqtt5, traffic, hits, limits, logger }: StagesOptions) {
  const firstPackets = new FirstPacketCheck({
    connectPacketBytesMax: limits.connectPacketBytesMax,
    verify,
    serve,
    onRefused: (bytes) => { noteConnect(traffic, bytes) }
  })
  const onTimeout = () => { hits.hit('connect_time') }
  const connects = new ConnectBytes({
    connectPacketBytesMax: limits.connectPacketBytesMax,
    timeoutMs: limits.connectTimeoutMs,
    serveOther: firstPackets.receive,
    serveMqtt5: mqtt5.serve,
    onTimeout
  })
  const firstBytes = new FirstByteWait({ timeoutMs: limits.connectTimeoutMs, serve: connects.receive, onTimeout })
  const admission = createAdmission({ limits, hits, serve: firstBytes.receive, logger })
  return {
    admit: admission.admit,
    /** Closes connections in these stages, and those that come later. */
    stop (): void {
      admission.stop()
      firstBytes.stop()
      connects.stop()
      firstPackets.stop()
      mqtt5.stop()
    },
    /** Open sockets. */
    get open (): number {
      return admission.open
    }
  }
}
