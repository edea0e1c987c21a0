/** InfluxDB 1 as tests and chaos start it, on loopback. */

export interface InfluxDbSettings {
  readonly dir: string
  readonly port: number
  readonly backupPort: number
  /** Lines below `[data]` and `[http]`. */
  readonly data?: string
  readonly http?: string
}

/** Its configuration. */
export const toInfluxDbConfig = ({ dir, port, backupPort, data = '', http = '' }: InfluxDbSettings): string => `reporting-disabled = true
bind-address = "127.0.0.1:${backupPort}"
[meta]
dir = "${dir}/meta"
[data]
dir = "${dir}/data"
wal-dir = "${dir}/wal"
query-log-enabled = false
${data}
[http]
bind-address = "127.0.0.1:${port}"
log-enabled = false
${http}
[monitor]
store-enabled = false
[subscriber]
enabled = false
[continuous_queries]
enabled = false
`
