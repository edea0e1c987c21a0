import type { Config } from '../config/config.ts'
import { fitConnections } from './descriptors.ts'

/** The configuration of a process without MQTT and gRPC, and without the messages that gateways share over Redis. */
export function withoutIngest (config: Config): Config {
  return fitConnections({
    ...config, redisUrl: null, grpcPort: null, grpcConnectionsMax: 0, brokerLimits: { ...config.brokerLimits, connectionsMax: 0 }
  })
}
