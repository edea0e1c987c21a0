import { isIP } from 'node:net'

/**
 * What counts as one address where addresses are counted: an IPv4 address, or an IPv6 network of 64 bits, since whoever
 * has one address of it has them all.
 * @param address - spelt as `toAddress` does
 */
export function toAddressKey (address: string): string {
  if (isIP(address) !== 6) return address
  const [left = [], right] = address.replace(/%.*$/, '').split('::').map((half) => half === '' ? [] : half.split(':'))
  // An IPv4 tail stands for two groups, and it never reaches the first four of an address that is not all zeros before it.
  const groups = right === undefined ? left : [...left, ...Array<string>(Math.max(8 - left.length - right.length, 0)).fill('0'), ...right]
  return `${groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}

/** Whether `address` is this machine's own: its tunnels and proxies stand for clients that nobody can tell apart. */
export function isLoopback (address: string): boolean {
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'))
}
