/**
 * The PROXY protocol, versions 1 and 2 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt): a header that a
 * load balancer sends before the first byte of a connection, with the address of its client. The sender may claim any
 * address, so it is read from trusted peers only. They must send it: if it were optional, their clients could send one
 * themselves.
 */
import { isIP, type Socket } from 'node:net'
import { toAddress } from './address.ts'

/** Version 1: the specification's own bound, the longest line with two IPv6 addresses. */
const TEXT_BYTES_MAX = 107
/** Version 2: 16 bytes, addresses, and fields about the client's certificate. The length field allows 65,535. */
const BINARY_BYTES_MAX = 4096
const TEXT_PREFIX = Buffer.from('PROXY ')
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const BINARY_HEADER_BYTES = 16

/** PP2_TYPE_SSL and the fields in it, §2.2.6 of the specification. */
const TYPE_TLS = 0x20
const TYPE_COMMON_NAME = 0x22
/** Flags of PP2_TYPE_SSL: the client presented a certificate on this connection, or in the session that it resumed. */
const HAS_CERTIFICATE = 0x02 | 0x04
const VERIFIED = 0
/** Flags (1 byte) and the result of the verification (4 bytes). */
const TLS_HEADER_BYTES = 5
const FIELD_HEADER_BYTES = 3

/** The client of a connection, as its header describes it. */
export interface ProxiedClient {
  /** Its address; `null`: the connection is the proxy's own, or its family has no IP addresses. */
  readonly source: string | null
  /** The client speaks TLS to the proxy. */
  readonly isSecure: boolean
  /** The common name of its certificate, which the proxy verified; empty without one. */
  readonly certificateNames: readonly string[]
}

/** A parsed header, or the beginning of one. */
export type ProxyHeader =
  | { readonly status: 'incomplete' }
  | { readonly status: 'invalid' }
  | { readonly status: 'complete', readonly bytes: number, readonly client: ProxiedClient }

const INCOMPLETE: ProxyHeader = { status: 'incomplete' }
const INVALID: ProxyHeader = { status: 'invalid' }

/** Parses the first bytes of a connection. */
export function parseProxyHeader (bytes: Buffer): ProxyHeader {
  if (startsAs(bytes, SIGNATURE)) return bytes.length < BINARY_HEADER_BYTES ? INCOMPLETE : parseBinary(bytes)
  if (startsAs(bytes, TEXT_PREFIX)) return parseText(bytes)
  return INVALID
}

/** Whether the shorter one is the beginning of the longer one. */
function startsAs (bytes: Buffer, prefix: Buffer): boolean {
  const length = Math.min(bytes.length, prefix.length)
  return bytes.compare(prefix, 0, length, 0, length) === 0
}

/** A connection without TLS. */
function plain (bytes: number, source: string | null): ProxyHeader {
  return { status: 'complete', bytes, client: { source, isSecure: false, certificateNames: [] } }
}

function parseText (bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, TEXT_BYTES_MAX).indexOf('\r\n')
  if (end === -1) return bytes.length < TEXT_BYTES_MAX ? INCOMPLETE : INVALID
  const [, family, source = '', destination = '', ...ports] = bytes.toString('latin1', 0, end).split(' ')
  if (family === 'UNKNOWN') return plain(end + 2, null)
  const version = family === 'TCP4' ? 4 : family === 'TCP6' ? 6 : 0
  const isWhole = version !== 0 && isIP(source) === version && isIP(destination) === version &&
    ports.length === 2 && ports.every((port) => /^\d{1,5}$/.test(port) && Number(port) <= 65_535)
  return isWhole ? plain(end + 2, toAddress(source)) : INVALID
}

function parseBinary (bytes: Buffer): ProxyHeader {
  const version = bytes.readUInt8(12) >> 4
  const command = bytes.readUInt8(12) & 0x0f
  const family = bytes.readUInt8(13) >> 4
  const length = BINARY_HEADER_BYTES + bytes.readUInt16BE(14)
  if (version !== 2 || command > 1 || family > 3 || length > BINARY_BYTES_MAX) return INVALID
  if (bytes.length < length) return INCOMPLETE
  // LOCAL is the proxy's own connection, such as a health check; families 0 and 3 are unspecified and Unix sockets.
  if (command === 0 || family === 0 || family === 3) return plain(length, null)
  const addressBytes = family === 1 ? 4 : 16
  const fieldsAt = BINARY_HEADER_BYTES + 2 * addressBytes + 4
  if (length < fieldsAt) return INVALID
  const address = bytes.subarray(BINARY_HEADER_BYTES, BINARY_HEADER_BYTES + addressBytes)
  const source = toAddress(toText(address))
  const tls = findField(bytes.subarray(fieldsAt, length), TYPE_TLS)
  if (tls === null || tls.length < TLS_HEADER_BYTES) return plain(length, source)
  return { status: 'complete', bytes: length, client: { source, isSecure: true, certificateNames: toCommonNames(tls) } }
}

/** A certificate that the proxy did not verify gives no name. */
function toCommonNames (tls: Buffer): readonly string[] {
  const isVerified = (tls.readUInt8(0) & HAS_CERTIFICATE) !== 0 && tls.readUInt32BE(1) === VERIFIED
  const name = isVerified ? findField(tls.subarray(TLS_HEADER_BYTES), TYPE_COMMON_NAME) : null
  return name === null || name.length === 0 ? [] : [name.toString()]
}

/** The value of the first field of a type, each of which has a type, a length of 2 bytes, and a value. */
function findField (fields: Buffer, type: number): Buffer | null {
  let at = 0
  while (at + FIELD_HEADER_BYTES <= fields.length) {
    const end = at + FIELD_HEADER_BYTES + fields.readUInt16BE(at + 1)
    if (end > fields.length) return null
    if (fields.readUInt8(at) === type) return fields.subarray(at + FIELD_HEADER_BYTES, end)
    at = end
  }
  return null
}

function toText (address: Buffer): string {
  if (address.length === 4) return address.join('.')
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16))
  const text = new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
  // Canonical, except mapped IPv4 addresses, which URL writes as `::ffff:c000:201`.
  const isMapped = text.startsWith('::ffff:') && address.subarray(0, 10).every((byte) => byte === 0)
  return isMapped ? `::ffff:${address.subarray(12).join('.')}` : text
}

interface ReadOptions {
  /** Not read from yet. */
  readonly socket: Socket
  readonly timeoutMs: number
  /** The bytes behind the header are back in the socket. Called on an empty stack. */
  readonly onRead: (client: ProxiedClient) => void
  /** The socket is destroyed. */
  readonly onRefused: (reason: 'proxy_header_invalid' | 'proxy_header_timeout') => void
}

/** Reads the header of a trusted peer's connection. Calls nothing when the peer closes before the header is whole. */
export function readProxyHeader ({ socket, timeoutMs, onRead, onRefused }: ReadOptions): void {
  let bytes: Buffer = Buffer.alloc(0)
  const timer = setTimeout(() => { refuse('proxy_header_timeout') }, timeoutMs)

  function end (): void {
    clearTimeout(timer)
    socket.off('readable', read).off('close', end).off('error', ignore)
  }

  function refuse (reason: Parameters<ReadOptions['onRefused']>[0]): void {
    end()
    socket.on('error', ignore)
    socket.destroy()
    onRefused(reason)
  }

  function read (): void {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) return
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
    const header = parseProxyHeader(bytes)
    if (header.status === 'incomplete') return
    if (header.status === 'invalid') {
      refuse('proxy_header_invalid')
      return
    }
    clearTimeout(timer)
    socket.off('readable', read)
    if (header.bytes < bytes.length) socket.unshift(bytes.subarray(header.bytes))
    // A stream removes `readable` listeners at the end of the turn; one that is added now would miss the bytes that are
    // there.
    setImmediate(() => {
      end()
      if (!socket.destroyed) onRead(header.client)
    })
  }

  socket.on('readable', read).on('close', end).on('error', ignore)
}

/** `close` follows. */
function ignore (): void {}
