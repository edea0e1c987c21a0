import type { Config } from '../config/config.ts'
import { fitConnections } from './descriptors.ts'

/** For a process without MQTT and gRPC, which take descriptors, and without the messages that gateways share. */
export function withoutIngest (config: Config): Config {
  return fitConnections({
    ...config, redisUrl: null, grpcPort: null, grpcConnectionsMax: 0, brokerLimits: { ...config.brokerLimits, connectionsMax: 0 }
  })
}
