import type { FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import { toAddress } from '../../../broker/listen/address.ts'
import { isAllowedOrigin } from '../../../broker/listen/web-socket.ts'
import type { HttpApp } from '../app.ts'
import { HTTP_ERRORS } from '../errors.ts'
import type { Health } from '../routes/get-health.ts'
import { READ_ONLY, refuseAllBut } from '../routes/refuse-other-methods.ts'
import { countAnswers } from '../send-answer.ts'
import { findPageDir, type PageFile, readPageFiles } from './files.ts'
import type { FleetChanges } from './fleet-changes.ts'
import { createStatus } from './status.ts'

/**
 * Preact sets styles through the CSSOM, which needs no `unsafe-inline`. `connect-src 'self'` covers the
 * WebSocket of the same host and port. Without `worker-src` no worker can be made: MQTT.js keeps its time with `setTimeout`.
 */
const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin'
} as const

/** Answers of `/app/changes.json` up to this size always leave: those of 5,000 devices in two seconds. */
const SMALL_CHARACTERS = 512 * 1024
/** Of all answers that clients have not taken yet, when a larger one begins; it may exceed the bound by its own size. */
const LEAVING_CHARACTERS_MAX = 32 * 1024 * 1024

const NOT_BUILT = 'The live page is not built. npm start builds it, and so does npm run build.\n'

/** Vital sign → the lowest and the highest value that is in range. */
export type Limits = Readonly<Record<string, readonly [number, number]>>

/** The settings of the page, and its sources of data. */
export interface Page {
  /** Folder of the built files; by default where the build puts them. */
  readonly dir?: string | null
  /** By prefix of the device id; the longest one counts. */
  readonly limits: Readonly<Record<string, Limits>>
  /** Where devices publish, for the lines to paste; `null` while MQTT does not listen. */
  readonly mqtt: () => { readonly port: number, readonly securePort: number | null } | null
  /** Changes of the devices, for the table of all. */
  readonly changes: Pick<FleetChanges, 'since'>
  /** Plays the shipped recordings; `null` where that is not possible. */
  readonly recordings: Recordings | null
}

/** The shipped recordings of bedside monitors, played into this gateway. */
export interface Recordings {
  readonly isPlaying: () => boolean
  readonly start: () => void
  readonly stop: () => void
}

interface PageRoutesOptions {
  readonly page: Page
  readonly health: () => Health
  readonly metrics: () => Promise<string>
  readonly version: string
}

/** `GET /`, its files below `/app/`, and the requests of the page. */
export function servePage (app: HttpApp, { page, health, metrics, version }: PageRoutesOptions): void {
  const files = readPageFiles(page.dir === undefined ? findPageDir() : page.dir)
  const hide = { schema: { hide: true }, config: { access: 'public' as const } }
  const index = files.find(({ name }) => name === 'index.html')
  app.get('/', hide, (request, reply) => index === undefined
    ? reply.code(503).headers(PAGE_HEADERS).type('text/plain; charset=utf-8').send(NOT_BUILT)
    : sendFile(request, reply, index, 'no-cache'))
  for (const file of files) {
    // Their names hold a hash of their content.
    const caching = file === index ? 'no-cache' : 'public, max-age=31536000, immutable'
    app.get(`/app/${file.name}`, hide, (request, reply) => sendFile(request, reply, file, caching))
    refuseAllBut(app, `/app/${file.name}`, READ_ONLY)
  }

  const mayPlay = (request: FastifyRequest) => page.recordings !== null && request.principal === null &&
    isFromHere(request)
  app.get('/app/config.json', { schema: { hide: true } }, (request, reply) => {
    const { principal } = request
    return reply.header('cache-control', 'no-store').send({
      version,
      principal: principal == null ? null : { id: principal.id, role: principal.role },
      limits: page.limits,
      mqtt: page.mqtt(),
      mayPlay: mayPlay(request)
    })
  })
  const status = createStatus({ health, metrics, isPlaying: () => page.recordings?.isPlaying() ?? false })
  app.get('/app/status.json', { schema: { hide: true } }, async (_request, reply) => {
    const answer = await status()
    return reply.header('cache-control', 'no-store').send(answer)
  })
  serveChanges(app, page.changes)
  for (const [method, act] of [['POST', 'start'], ['DELETE', 'stop']] as const) {
    app.route({
      method,
      url: '/app/play',
      schema: { hide: true },
      handler: (request, reply) => {
        if (page.recordings === null || !mayPlay(request)) throw new HTTP_ERRORS.Forbidden()
        page.recordings[act]()
        return reply.code(202).send({ isPlaying: page.recordings.isPlaying() })
      }
    })
  }
  refuseAllBut(app, '/app/play', ['POST', 'DELETE', 'OPTIONS'])
}

/** Each slow client has a copy of its answer, so large ones do not begin while many wait to be taken. */
function serveChanges (app: HttpApp, changes: Page['changes']): void {
  let leaving = 0
  const counted = countAnswers((characters) => {
    leaving += characters
    let isHeld = true
    return () => {
      if (isHeld) leaving -= characters
      isHeld = false
    }
  })
  const querystring = Type.Object({ since: Type.Optional(Type.String({ maxLength: 40 })) }, { additionalProperties: false })
  app.get('/app/changes.json', { schema: { hide: true, querystring }, ...counted }, (request, reply) => {
    const answer = changes.since(request.query.since)
    if (answer.length > SMALL_CHARACTERS && leaving >= LEAVING_CHARACTERS_MAX) throw new HTTP_ERRORS.ReadsBusy()
    return reply.header('cache-control', 'no-store').type('application/json; charset=utf-8').send(answer)
  })
}

/** Whether a program of this machine or a page of ours asks. Every page of the web may send a POST to loopback. */
function isFromHere ({ ip, headers }: FastifyRequest): boolean {
  const address = toAddress(ip)
  if (address !== '::1' && !address.startsWith('127.')) return false
  return headers.origin === undefined || isAllowedOrigin(headers.origin, headers.host, new Set())
}

function sendFile (request: FastifyRequest, reply: FastifyReply, file: PageFile, caching: string): FastifyReply {
  reply.headers(PAGE_HEADERS).headers({ 'cache-control': caching, etag: file.etag, vary: 'Accept-Encoding' })
  if (request.headers['if-none-match']?.includes(file.etag) === true) return reply.code(304).send()
  reply.type(file.contentType)
  const accepted = toCodings(request.headers['accept-encoding'])
  for (const [coding, bytes] of file.encoded) {
    if (accepted.has(coding)) return reply.header('content-encoding', coding).send(bytes)
  }
  return reply.send(file.bytes)
}

/** The content codings that a request names, without those of quality 0. */
function toCodings (header: string | string[] | undefined): Set<string> {
  return new Set(String(header ?? '').split(',').flatMap((item) => {
    const [coding = '', quality = 'q=1'] = item.split(';').map((part) => part.trim().toLowerCase())
    return /^q=0(?:\.0*)?$/.test(quality) ? [] : [coding]
  }))
}
