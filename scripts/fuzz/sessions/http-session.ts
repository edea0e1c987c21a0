import type { SessionRandom } from './session-random.ts'
import { hostilePayload, validReading } from './json-payload.ts'
import type { Session } from './session.ts'

const REQUESTS_MAX = 12
const MUTATED_SHARE = 0.04

const METHODS = ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'CONNECT', 'PROPFIND', 'get', 'GE T', 'POST\0', ''] as const

const PATHS = [
  '/vital-data', '/vital-data?count=5', '/vital-data?count=1e9', '/vital-data?count=5&count=6',
  '/vital-data?__proto__=1', '/vital-data?constructor[prototype]=1', '/vital-data?sortBy=heartRate&orderBy=asc',
  '/vital-data?offset=99999999999999', '/vital-data/hfz-1', '/vital-data/%00', '/vital-data/%zz', '/vital-data/%ff',
  '/vital-data/__proto__', '/vital-data/..%2f..%2fetc%2fpasswd', '/vital-data/' + 'x'.repeat(4000),
  '/health/live', '/health/ready', '/dead-letters?reason=invalid_json', '/dead-letters/0', '/dead-letters/__proto__',
  '/docs', '/docs/static/../../../package.json', '/../../etc/passwd', '//', '/', '*',
  'http://other/vital-data', '/\u{1f600}', '/a b', '/mqtt', ''
] as const

/** One line each, or several. */
const HEADERS = [
  'host: other', 'content-length: 0', 'content-length: -1', 'content-length: 99999999999', 'content-length: 5, 5',
  'content-length: 0x5', 'content-length: +5', 'transfer-encoding: chunked',
  'transfer-encoding: chunked, chunked', 'transfer-encoding: identity', 'transfer-encoding: xchunked',
  'transfer-encoding : chunked', 'transfer-encoding:\tchunked', 'Transfer-Encoding: cHuNkEd',
  'content-encoding: gzip',
  'content-encoding: br', 'expect: 100-continue', 'expect: x', 'connection: close',
  'connection: keep-alive, upgrade', 'upgrade: websocket', 'upgrade: h2c', 'content-type: text/plain',
  'content-type: application/json; charset=utf-16',
  'content-type: multipart/form-data; boundary=x', 'authorization: Bearer x',
  `authorization: Bearer ${'a'.repeat(5000)}`, 'authorization: Basic Og==', 'x-api-key: vg_x',
  'x-forwarded-for: 10.0.0.1, 127.0.0.1', 'forwarded: for="[::1]"',
  'x-http-method-override: DELETE', '__proto__: 1', 'constructor: x', 'folded: a\r\n b', 'nul: a\0b', 'no-colon',
  ': empty', 'origin: http://evil', 'range: bytes=0-', 'accept-encoding: gzip', 'te: trailers', 'trailer: host',
  Array.from({ length: 150 }, (_, index) => `h${index}: x`).join('\r\n')
] as const

/** Beyond a limit each; sent seldom, because most of the cost of a packet is its bytes. */
const LARGE_PATH = `/vital-data/${'x'.repeat(20_000)}`
const LARGE_HEADERS = [Array.from({ length: 3000 }, (_, index) => `h${index}: x`).join('\r\n'), `long: ${'x'.repeat(17_000)}`] as const
const LARGE_SHARE = 0.005

const pickHeader = (random: SessionRandom) => random.chance(LARGE_SHARE) ? random.pick(LARGE_HEADERS) : random.pick(HEADERS)

function toChunks (body: Buffer, random: SessionRandom): Buffer {
  const parts: Buffer[] = []
  for (const piece of random.cut(body, 4)) {
    const size = random.chance(0.98)
      ? piece.length.toString(16)
      : random.pick(['ffffffff', '-1', 'zz', '0', '', '1;ext=x', `1;${'x'.repeat(2000)}`, '00000000000000000005', 'fffffffffffffffff'])
    if (piece.length > 0 || random.chance(0.05)) {
      parts.push(Buffer.from(`${size}\r\n`), piece, Buffer.from(random.chance(0.99) ? '\r\n' : '\n'))
    }
  }
  const end = random.chance(0.96) ? '0\r\n\r\n' : random.pick(['0\r\nhost: x\r\n\r\n', '0\r\n', '', '0\r\n__proto__: x\r\n\r\n'])
  return Buffer.concat([...parts, Buffer.from(end)])
}

function postRequest (random: SessionRandom, n: number): Buffer {
  const device = `hfz-${random.below(50)}`
  const body = random.chance(0.5) ? Buffer.from(validReading(random, n, device)) : hostilePayload(random, n, device)
  const isChunked = random.chance(0.3)
  const framing = isChunked
    ? 'transfer-encoding: chunked'
    : `content-length: ${random.chance(0.99) ? body.length : body.length + random.pick([-3, 3])}`
  const odd = random.chance(0.06) ? `${pickHeader(random)}\r\n` : ''
  const head = `POST /vital-data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${odd}${framing}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), isChunked ? toChunks(body, random) : body])
}

function otherRequest (random: SessionRandom): Buffer {
  // Metrics and the documentation are the most expensive answers. Everyone may request them, so some sessions do.
  const path = random.chance(0.02) ? random.pick(['/metrics', '/docs/json']) : random.chance(LARGE_SHARE) ? LARGE_PATH : random.pick(PATHS)
  const version = random.chance(0.98) ? 'HTTP/1.1' : random.pick(['HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', ''])
  const headers = Array.from({ length: random.chance(0.75) ? 0 : random.few(5) }, () => `${pickHeader(random)}\r\n`).join('')
  const method = random.chance(0.85) ? 'GET' : random.pick(METHODS)
  return Buffer.from(`${method} ${path} ${version}\r\n${random.chance(0.97) ? 'host: x\r\n' : ''}${headers}\r\n`)
}

function breakRequest (request: Buffer, random: SessionRandom): Buffer {
  const copy = Buffer.from(request)
  for (let times = 1 + random.few(4); times > 0; times--) copy[random.below(copy.length)] = random.below(256)
  return random.chance(0.3) ? copy.subarray(0, random.below(copy.length)) : copy
}

/** Pipelined requests, some of them broken. */
export function createHttpSession (random: SessionRandom, index: number): Session {
  const count = 1 + random.below(REQUESTS_MAX)
  const parts: Buffer[] = []
  for (let made = 0; made < count; made++) {
    const request = random.chance(0.6) ? postRequest(random, index * 100 + made) : otherRequest(random)
    parts.push(random.chance(MUTATED_SHARE) ? breakRequest(request, random) : request)
  }
  if (random.chance(0.02)) parts.push(random.bytes(1 + random.few(500)))
  return {
    target: 'http',
    pieces: random.cut(Buffer.concat(parts), random.chance(0.5) ? 0 : 6),
    packets: parts.length,
    fate: random.chance(0.75) ? 'end' : random.pick(['reset', 'destroy', 'linger'] as const),
    waitMs: random.pick([0, 100, 1000]),
    acknowledgements: 0,
    answersMax: parts.length
  }
}
