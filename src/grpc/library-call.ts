/** The one file that uses what @grpc/grpc-js does not show in its types; a test fails when an upgrade changes it. */
import type { ServerHttp2Stream } from 'node:http2'
import { TLSSocket } from 'node:tls'
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js'
import { toCertificateNames } from '../../broker/listen/certificate-names.ts'

/** The call as interceptors get it: BaseServerInterceptingCall in the library's server-interceptors.ts. */
interface LibraryCall {
  readonly stream: ServerHttp2Stream
  readonly incomingEncoding: string
}

const libraryCall = (call: ServerInterceptingCallInterface) => call as unknown as LibraryCall

/** The HTTP/2 stream of a call: to know when it has closed, and to reset it. */
export function streamOf (call: ServerInterceptingCallInterface): ServerHttp2Stream {
  return libraryCall(call).stream
}

/**
 * `grpc-encoding`, which the library takes out of the metadata: how the messages of the call are compressed. The
 * library would make decompressors for all compressed messages of one read at once, 600 of the smallest in 16 KiB.
 */
export function encodingOf (call: ServerInterceptingCallInterface): string {
  return libraryCall(call).incomingEncoding
}

/** Names of the client certificate, common names first; empty without a valid one. */
export function certificateNamesOf (call: ServerInterceptingCallInterface): readonly string[] {
  const socket = streamOf(call).session?.socket
  return socket instanceof TLSSocket ? toCertificateNames(socket) : []
}
