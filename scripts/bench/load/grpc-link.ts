import { connect as connectHttp2 } from 'node:http2'
import type { OnAnswer } from './on-answer.ts'
import { encodeBytes, MessageReader, toTag, WIRE, writeVarint } from '../../../src/grpc/wire.ts'

/**
 * A Publish stream over node:http2: the library that the gateway uses would make the generator the limit. Messages and
 * answers are those of schemas/vital/v1/ingest.proto.
 */

const FRAME_HEADER_BYTES = 5
const STORED = 1

/** Numbers of the fields that are doubles, in the order in which they are written. */
const FIELDS = [2, 3, 4, 9, 10] as const
const DOUBLE_BYTES = 9
const READING_FIELDS_BYTES = FIELDS.length * DOUBLE_BYTES

/**
 * A request in a gRPC frame, with readings to write over.
 * @returns the request, and where the fields of each reading begin
 */
export function createRequest (readings: number, device: string, number: number): { bytes: Buffer, readingsAt: number[] } {
  const fields = Buffer.alloc(READING_FIELDS_BYTES)
  for (const [index, field] of FIELDS.entries()) fields[index * DOUBLE_BYTES] = toTag(field, WIRE.fixed64)
  const reading = encodeBytes(2, Buffer.concat([encodeBytes(1, device), fields]))
  const head = Buffer.alloc(FRAME_HEADER_BYTES + 1 + 5)
  head[FRAME_HEADER_BYTES] = toTag(1, WIRE.varint)
  const front = head.subarray(0, writeVarint(head, FRAME_HEADER_BYTES + 1, number))
  const bytes = Buffer.concat([front, ...Array.from({ length: readings }, () => reading)])
  bytes.writeUInt32BE(bytes.length - FRAME_HEADER_BYTES, 1)
  return {
    bytes,
    readingsAt: Array.from({ length: readings }, (_, index) => front.length + (index + 1) * reading.length - READING_FIELDS_BYTES)
  }
}

/** As `writeReading`, for the reading whose fields begin at `at`. */
export function writeProtoReading (bytes: Buffer, at: number, timeUs: number, random: number): void {
  bytes.writeDoubleLE(timeUs / 1e6, at + 1)
  bytes.writeDoubleLE(60 + (random & 31) + ((random >>> 5) & 7) / 10, at + DOUBLE_BYTES + 1)
  bytes.writeDoubleLE(10 + ((random >>> 8) & 63) / 10, at + 2 * DOUBLE_BYTES + 1)
  bytes.writeDoubleLE(90 + ((random >>> 14) & 63) / 10, at + 3 * DOUBLE_BYTES + 1)
  bytes.writeDoubleLE(35 + ((random >>> 20) & 255) / 100, at + 4 * DOUBLE_BYTES + 1)
}

/** Opens a connection with one stream; settles once the gateway has admitted it. */
export function openGrpcLink (port: number, fail: (error: Error) => void) {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  const stream = session.request({
    ':method': 'POST', ':path': '/vital.v1.Ingest/Publish', 'content-type': 'application/grpc', te: 'trailers'
  })
  const link = { socket: stream, onAnswer: (() => { throw new Error('an answer to nothing') }) as OnAnswer, onRead: () => {} }
  let rest: Buffer = Buffer.alloc(0)
  stream.on('data', (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    try {
      while (bytes.length - at >= FRAME_HEADER_BYTES) {
        const end = at + FRAME_HEADER_BYTES + bytes.readUInt32BE(at + 1)
        if (end > bytes.length) break
        takeAnswers(bytes.subarray(at + FRAME_HEADER_BYTES, end), link.onAnswer)
        at = end
      }
      rest = bytes.subarray(at)
      link.onRead()
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)))
    }
  })
  stream.on('trailers', (trailers) => { fail(new Error(`the stream ended with status ${trailers['grpc-status']}`)) })
  return new Promise<typeof link>((resolve, reject) => {
    stream.once('response', () => { resolve(link) })
    for (const part of [session, stream]) {
      part.on('error', (error: Error) => {
        reject(error)
        fail(error)
      })
    }
  })
}

/** Bytes of a PublishResponse; each of its answers must be STORED. */
function takeAnswers (bytes: Buffer, onAnswer: OnAnswer): void {
  const reader = new MessageReader(bytes)
  while (!reader.isAtEnd) {
    reader.readUint32()
    const outer = reader.enter()
    reader.readUint32()
    reader.readVarint()
    reader.readUint32()
    const outcome = reader.readVarint()
    if (outcome !== STORED) throw new Error(`the gateway answered ${outcome} instead of STORED`)
    onAnswer()
    reader.leave(outer)
  }
}
