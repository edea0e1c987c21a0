import { isIP } from 'node:net'

/**
 * The key by which addresses are counted: an IPv4 address, or an IPv6 network of 64 bits, since a host that
 * has one address of such a network has them all.
 * @param address - spelt as `toAddress` does
 */
export function toAddressKey (address: string): string {
  if (isIP(address) !== 6) return address
  const [left = [], right] = address.replace(/%.*$/, '').split('::').map((half) => half === '' ? [] : half.split(':'))
  // An IPv4 tail stands for two groups, and it never reaches the first four of an address that is not all zeros before
  // it.
  const zeros = Array<string>(Math.max(8 - left.length - (right?.length ?? 0), 0)).fill('0')
  const groups = right === undefined ? left : [...left, ...zeros, ...right]
  return `${groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}

/** Whether `address` is a loopback address: tunnels and proxies on this machine hide the addresses of their clients. */
export function isLoopback (address: string): boolean {
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'))
}
