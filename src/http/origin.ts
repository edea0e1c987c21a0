import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { TLSSocket } from 'node:tls'
import { type IsTrusted, toAddress } from '../../broker/listen/address.ts'
import { toCertificateNames } from '../../broker/listen/certificate-names.ts'
import type { Origin } from '../../broker/listen/origin.ts'

/** Determines the origin of a request. */
export type ToOrigin = (request: IncomingMessage) => Origin

/**
 * @param isProxy - peers whose `X-Forwarded-For` is believed; other peers could write any address there
 */
export function createToOrigin (isProxy: IsTrusted): ToOrigin {
  return ({ socket, headers }) => {
    const isSecure = socket instanceof TLSSocket
    return {
      transport: isSecure ? 'tls' : 'tcp',
      remoteAddress: toForwardedAddress(toAddress(socket.remoteAddress), headers['x-forwarded-for'], isProxy),
      certificateNames: isSecure ? toCertificateNames(socket) : []
    }
  }
}

/** Each proxy adds its peer's address at the end, so the last address that is not a trusted proxy's is the client's. */
export function toForwardedAddress (peer: string, forwardedFor: string | string[] | undefined, isProxy: IsTrusted): string {
  if (forwardedFor === undefined || !isProxy(peer)) return peer
  let address = peer
  for (const hop of [forwardedFor].flat().join(',').split(',').reverse()) {
    const next = toAddress(hop.trim())
    if (isIP(next) === 0) break
    address = next
    if (!isProxy(address)) break
  }
  return address
}
