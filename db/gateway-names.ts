/** Bytes that PostgreSQL keeps of an application name (NAMEDATALEN - 1); a longer name would not be found there. */
const NAME_BYTES_MAX = 63
const HOST_CHARACTERS_MAX = 24

/**
 * Matches names of processes with a spool in pg_stat_activity: gateways, and bridges, which count as gateways. Gateways
 * before 0.2 had no id behind the process.
 */
export const GATEWAY_NAMES = '^vital-(gateway|bridge) \\S+:\\d+(/[0-9a-f]+)?$'

/** The same of all that stores readings: gateways, bridges and sinks. */
export const WRITER_NAMES = '^vital-(gateway|bridge|sink) \\S+:\\d+(/[0-9a-f]+)?$'

interface Start {
  readonly host: string
  readonly pid: number
  /** Hexadecimal digits, drawn at random for this start. */
  readonly id: string
}

/** Name of one start of a gateway in PostgreSQL. Host and process are for a person: containers repeat both. */
export function toGatewayName (start: Start): string {
  return toName('vital-gateway', start)
}

/** The same of a process that only reads. It does not count as a gateway, because it stores nothing. */
export function toReadApiName (start: Start): string {
  return toName('vital-api', start)
}

/** The same of a bridge. */
export function toBridgeName (start: Start): string {
  return toName('vital-bridge', start)
}

/** The same of a sink. */
export function toSinkName (start: Start): string {
  return toName('vital-sink', start)
}

/** The same of a lake, which stores nothing in PostgreSQL. */
export function toLakeName (start: Start): string {
  return toName('vital-lake', start)
}

/** The same of an export, which stores no readings in PostgreSQL. */
export function toExportName (start: Start): string {
  return toName('vital-export', start)
}

function toName (program: string, { host, pid, id }: Start): string {
  const plainHost = host.replaceAll(/[^\w.-]/g, '_').slice(0, HOST_CHARACTERS_MAX)
  return `${program} ${plainHost}:${pid}/${id}`.slice(0, NAME_BYTES_MAX)
}
