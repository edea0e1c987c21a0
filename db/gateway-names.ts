/** Longest that PostgreSQL keeps of an application name (NAMEDATALEN - 1): beyond, a name would not equal itself. */
const NAME_BYTES_MAX = 63
const HOST_CHARACTERS_MAX = 24

/** What gateways are called in pg_stat_activity; those before 0.2 had no id behind the process. */
export const GATEWAY_NAMES = '^vital-gateway \\S+:\\d+(/[0-9a-f]+)?$'

/**
 * What one start of a gateway is called in PostgreSQL. Host and process are for a person: containers repeat both.
 * @param id - hexadecimal digits, drawn at random for this start
 */
export function toGatewayName (
  { host, pid, id }: { readonly host: string, readonly pid: number, readonly id: string }
): string {
  const plainHost = host.replaceAll(/[^\w.-]/g, '_').slice(0, HOST_CHARACTERS_MAX)
  return `vital-gateway ${plainHost}:${pid}/${id}`.slice(0, NAME_BYTES_MAX)
}
