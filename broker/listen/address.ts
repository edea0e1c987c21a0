import { BlockList, isIP } from 'node:net'

const MAPPED_PREFIX = '::ffff:'

/**
 * Normalises a peer's address: a socket of both families shows IPv4 peers as `::ffff:192.0.2.1`,
 * and a limit or a list of trusted addresses must not see two spellings.
 */
export function toAddress (remoteAddress: string | undefined): string {
  if (remoteAddress === undefined) return ''
  const mapped = remoteAddress.startsWith(MAPPED_PREFIX) ? remoteAddress.slice(MAPPED_PREFIX.length) : ''
  return isIP(mapped) === 4 ? mapped : remoteAddress
}

/** Whether an address, as {@link toAddress} returns it, is in a set. */
export type IsTrusted = (address: string) => boolean

/**
 * @param ranges - addresses and CIDR ranges of either family, such as `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`
 * @throws `RangeError` that names the invalid range
 */
export function createAddressSet (ranges: readonly string[]): IsTrusted {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits, ...rest] = range.split('/')
    const version = isIP(address)
    const widest = version === 4 ? 32 : 128
    const isRange = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= widest)
    if (version === 0 || !isRange || rest.length > 0) {
      throw new RangeError(`"${range}" is neither an IP address nor a CIDR range`)
    }
    list.addSubnet(address, bits === undefined ? widest : Number(bits), version === 4 ? 'ipv4' : 'ipv6')
  }
  return (address) => {
    const version = isIP(address)
    return version !== 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6')
  }
}
