import { connect } from 'node:net'
import type { Writable } from 'node:stream'
import { openGrpcLink } from './grpc-link.ts'
import { encodeConnect } from '../../harness/packet-encoder.ts'
import { CONNACK, FrameScanner, PINGRESP, PUBACK } from '../../harness/packet-scanner.ts'
import { ResponseScanner } from '../../harness/response-scanner.ts'
import type { LoadSettings } from './messages.ts'
import type { OnAnswer } from './on-answer.ts'

/** One connection to the server under test. */
export interface Link {
  readonly socket: Pick<Writable, 'write'>
  onAnswer: OnAnswer
  /** After all answers of one read: the place to send what they made room for. */
  onRead: () => void
}

/** Reads of all connections land in one buffer, because none outlives its callback. */
const readBuffer = Buffer.allocUnsafe(65_536)

/** Connections opened at once; more only fills the listener's backlog. */
const OPENING_MAX = 200

/** Longer than any round, so that an idle client need not ping; not 0, so that the cost of its timer counts. */
const KEEPALIVE_S = 3600

const CONNECT_TIMEOUT_MS = 30_000

/**
 * Opens all connections of a round and, over MQTT, waits for each CONNACK.
 * @param fail - called when a connection breaks or answers something unexpected
 */
export async function openLinks (settings: LoadSettings, fail: (error: Error) => void): Promise<Link[]> {
  const links: Link[] = []
  let next = 0
  const openSome = async () => {
    while (next < settings.connections) {
      const index = next++
      links[index] = await openLink(settings, index, fail)
    }
  }
  await Promise.all(Array.from({ length: Math.min(OPENING_MAX, settings.connections) }, openSome))
  return links
}

function openLink (settings: LoadSettings, index: number, fail: (error: Error) => void): Promise<Link> {
  if (settings.protocol === 'grpc') return openGrpcLink(settings.port, fail)
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`connection ${index} was not accepted in ${CONNECT_TIMEOUT_MS} ms`))
    }, CONNECT_TIMEOUT_MS)
    const socket = connect({
      host: '127.0.0.1',
      port: settings.port,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (end, chunk) => {
          try {
            scan(chunk, end)
            link.onRead()
          } catch (error) {
            fail(error instanceof Error ? error : new Error(String(error)))
          }
          return true
        }
      }
    })
    const link: Link = { socket, onAnswer: () => { throw new Error('an answer to nothing') }, onRead: () => {} }
    const opened = () => {
      clearTimeout(timer)
      resolve(link)
    }
    const scan = settings.protocol === 'http' ? scanHttp(link) : scanMqtt(link, opened)
    const broken = (error: Error) => {
      clearTimeout(timer)
      reject(error)
      fail(error)
    }
    socket.on('error', (error) => broken(new Error(`connection ${index}: ${error.message}`, { cause: error })))
    socket.on('close', () => broken(new Error(`connection ${index} was closed by the server`)))
    socket.on('connect', () => {
      if (settings.protocol === 'http') opened()
      else {
        socket.write(encodeConnect(`${settings.devicePrefix}-${index}`, KEEPALIVE_S, {
          secret: settings.secrets?.[index] ?? null, protocolVersion: settings.protocol === 'mqtt5' ? 5 : 4
        }))
      }
    })
  })
}

type Scan = (chunk: Uint8Array, end: number) => void

function scanHttp (link: Link): Scan {
  const scanner = new ResponseScanner()
  const onResponse = (status: number) => {
    if (status !== 202) throw new Error(`the server answered ${status} instead of 202`)
    link.onAnswer()
  }
  return (chunk, end) => scanner.scan(chunk, end, onResponse)
}

function scanMqtt (link: Link, opened: () => void): Scan {
  const scanner = new FrameScanner()
  const onFrame = (type: number, word: number) => {
    if (type === PUBACK) link.onAnswer(word)
    else if (type === PINGRESP) link.onAnswer()
    else if (type === CONNACK && (word & 255) === 0) opened()
    else if (type === CONNACK) throw new Error(`CONNECT was refused with code ${word & 255}`)
    else throw new Error(`an unexpected packet of type ${type >> 4}`)
  }
  return (chunk, end) => scanner.scan(chunk, end, onFrame)
}
