import { randomBytes } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import type { AttackGround } from './attack-ground.ts'
import { encodeConnect, encodePublish, encodeSubscribe, PINGREQ } from '../../harness/packet-encoder.ts'

/** One attack, as strong as one machine can make it without being noticed for its rate alone. */
export interface AttackKind {
  /** Printed beside the result. */
  readonly what: string
  /** It sends no more to a server that takes everything, so it can strike one for comparison. */
  readonly isPaced: boolean
  readonly run: (ground: AttackGround) => void
}

const secretOf = (ground: AttackGround, index: number) => ground.settings.secrets[index % ground.settings.secrets.length] ?? ''
const login = (ground: AttackGround, index = 0) => encodeConnect(`mallory-${index % ground.settings.secrets.length}`, 60,
  { secret: secretOf(ground, index) })
const reading = () => Buffer.from(`{"timestamp":${Date.now() / 1000},"heartRateValue":60}`)

/** A connected client that sends as fast as the gateway reads. */
function flood (ground: AttackGround, connections: number, chunk: (index: number) => Buffer): void {
  let index = 0
  ground.keep(connections, () => {
    const own = index++
    const pour = () => {
      while (socket.writable) {
        ground.attempts++
        if (!socket.write(chunk(own))) return
      }
    }
    const socket = ground.open(ground.settings.mqttPort, () => {
      socket.write(login(ground, own))
      pour()
    })
    return socket.on('drain', pour)
  })
}

/** Logs in, and sends what `packet` gives, a number of times a second. */
function send (ground: AttackGround, perS: number, packet: (index: number) => Buffer): void {
  let index = 0
  const connected = new Set<ReturnType<AttackGround['open']>>()
  ground.keep(1, () => {
    const socket = ground.open(ground.settings.mqttPort, () => {
      socket.write(login(ground))
      connected.add(socket)
    })
    return socket.on('close', () => connected.delete(socket))
  })
  ground.every(perS, () => { for (const socket of connected) if (!socket.writableNeedDrain) socket.write(packet(index++)) })
}

/** Logins a second, each followed by something forbidden. */
function trespass (ground: AttackGround, perS: number, packet: () => Buffer): void {
  let index = 0
  ground.strike(perS, ground.settings.mqttPort, () => Buffer.concat([login(ground, index++), packet()]))
}

function http (ground: AttackGround, perS: number, request: () => Buffer): void {
  ground.strike(perS, ground.settings.httpPort, request)
}

function post (ground: AttackGround, body: Buffer, headers = ''): Buffer {
  return Buffer.concat([
    Buffer.from(`POST /vital-data HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${secretOf(ground, 0)}\r\nContent-Type: ` +
      `application/json\r\n${headers}Content-Length: ${body.length}\r\n\r\n`), body
  ])
}

const UPGRADE = 'GET /mqtt HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'

const HOSTILE = [
  '['.repeat(20_000), '{"a":'.repeat(10_000), '{"__proto__":{"timestamp":1},"constructor":{"prototype":{}}}',
  `{"timestamp":${'9'.repeat(400)}}`,
  `[${'{},'.repeat(1500)}{}]`, '{"timestamp":1,"heartRateValue":"\\ud800"}', '\xff\xfe\xfd'
].map((text) => Buffer.from(text, 'latin1'))

/** By name. */
export const ATTACKS: Readonly<Record<string, AttackKind>> = {
  'slow-connect': {
    what: '500 connections that send CONNECT a byte every half second',
    isPaced: true,
    run: (ground) => ground.keep(500, () => {
      const bytes = encodeConnect('slow-connect-that-takes-its-time', 60)
      let sent = 0
      const socket = ground.open(ground.settings.mqttPort, () => {})
      const timer = setInterval(() => { socket.write(bytes.subarray(sent, ++sent)) }, 500)
      return socket.on('close', () => clearInterval(timer))
    })
  },
  'connection-flood': {
    what: '2,000 connections a second that say nothing',
    isPaced: true,
    run: (ground) => ground.strike(2000, ground.settings.mqttPort, () => Buffer.alloc(0))
  },
  'endless-lengths': {
    what: '500 connections a second with a CONNECT of 256 MiB, or of five length bytes',
    isPaced: true,
    run: (ground) => ground.strike(500, ground.settings.mqttPort, () => Buffer.concat([
      Buffer.from([0x10, 0xff, 0xff, 0xff, ground.attempts % 2 === 0 ? 0x7f : 0xff]), randomBytes(1024)
    ]))
  },
  noise: {
    what: '500 connections a second of 512 random bytes, before or after a login',
    isPaced: true,
    run: (ground) => trespass(ground, 500, () => randomBytes(512))
  },
  'reconnect-storm': {
    what: '300 logins a second, each with a publish behind it',
    isPaced: true,
    run: (ground) => {
      let index = 0
      ground.strike(300, ground.settings.mqttPort, () => {
        const own = index++
        return Buffer.concat([login(ground, own), encodePublish(`vital/mallory-${own % ground.settings.secrets.length}`, reading(),
          1), Buffer.from([0xe0, 0])])
      })
    }
  },
  'wrong-secrets': {
    what: '300 logins a second with a generated secret that is wrong',
    isPaced: true,
    run: (ground) => ground.strike(300, ground.settings.mqttPort,
      () => encodeConnect(ground.settings.victim, 60, { secret: `vg_${randomBytes(32).toString('base64url')}` }))
  },
  'wrong-passwords': {
    what: '300 logins a second with a password that a person might have, which cost argon2id',
    isPaced: true,
    run: (ground) => ground.strike(300, ground.settings.mqttPort,
      () => encodeConnect(`nurse-${ground.attempts % 50}`, 60, { secret: `summer-${ground.attempts}` }))
  },
  'takeover-of-another': {
    what: '300 logins a second with a valid secret and the client id of a connected device',
    isPaced: true,
    run: (ground) => ground.strike(300, ground.settings.mqttPort, () => encodeConnect(ground.settings.victim, 60, {
      secret: secretOf(ground, 0), username: 'mallory-0'
    }))
  },
  'takeover-of-each-other': {
    what: '20 connections of one device, which take over from each other',
    isPaced: false,
    run: (ground) => ground.keep(20, () => {
      const socket = ground.open(ground.settings.mqttPort, () => socket.write(login(ground)))
      return socket
    })
  },
  'publish-as-another': {
    what: '300 times a second a login and a publish in another device\'s name',
    isPaced: true,
    run: (ground) => trespass(ground, 300, () => encodePublish(`vital/${ground.settings.victim}`, reading(), 1))
  },
  'sys-spoofing': {
    what: '300 times a second a login and a publish on $SYS',
    isPaced: true,
    run: (ground) => trespass(ground, 300, () => encodePublish('$SYS/broker/uptime', Buffer.from('0'), 1))
  },
  'subscribe-to-others': {
    what: '1,000 SUBSCRIBEs a second for #, +/+ and the topics of others',
    isPaced: true,
    run: (ground) => send(ground, 1000, () => encodeSubscribe(1,
      ['#', 'vital/+', `vital/${ground.settings.victim}`, `vital/${ground.settings.victim}/rejected`, '$SYS/#']))
  },
  'subscription-bombs': {
    what: '200 SUBSCRIBEs a second of 50 filters with 120 levels',
    isPaced: true,
    run: (ground) => send(ground, 200, () => encodeSubscribe(1, Array.from({ length: 50 }, (_, level) => `${level}/${'+/'.repeat(119)}+`)))
  },
  'publish-flood': {
    what: 'a device that publishes at QoS 1 as fast as it is read, with 20 readings a write',
    isPaced: false,
    run: (ground) => flood(ground, 1,
      (index) => Buffer.concat(Array.from({ length: 20 }, (_, at) => encodePublish(`vital/mallory-${index}`, reading(), at + 1))))
  },
  'ping-flood': {
    what: '10 devices that ping as fast as they are read',
    isPaced: false,
    run: (ground) => flood(ground, 10, () => Buffer.concat(Array.from({ length: 200 }, () => PINGREQ)))
  },
  'qos2-half-open': {
    what: '2,000 publishes a second at QoS 2 that are never released',
    isPaced: true,
    run: (ground) => send(ground, 2000, (index) => {
      const packet = encodePublish('vital/mallory-0', reading(), index % 65_535 + 1)
      packet[0] = 0x34
      return packet
    })
  },
  'hostile-payloads': {
    what: '500 publishes a second of deep, wide, broken and misnamed JSON',
    isPaced: true,
    run: (ground) => send(ground, 500, (index) => encodePublish('vital/mallory-0', HOSTILE[index % HOSTILE.length]!, index % 65_535 + 1))
  },
  'large-payloads': {
    what: 'a device that publishes 200 KiB of JSON as fast as it is read',
    isPaced: false,
    run: (ground) => {
      const packet = encodePublish('vital/mallory-0', Buffer.from(`{"timestamp":1,"a":"${'x'.repeat(200 * 1024)}"}`), 1)
      flood(ground, 1, () => packet)
    }
  },
  'does-not-read': {
    what: '500 broken publishes a second from a client that subscribes to its rejections and reads nothing',
    isPaced: true,
    run: (ground) => ground.keep(1, () => {
      const socket = ground.open(ground.settings.mqttPort, () => {
        socket.write(Buffer.concat([login(ground), encodeSubscribe(1, ['vital/mallory-0/rejected'])]))
        socket.pause()
        const timer = setInterval(() => {
          for (let times = 0; times < 5; times++) {
            socket.write(encodePublish('vital/mallory-0',
              Buffer.from('{'), 1))
          }
        }, 10)
        socket.on('close', () => clearInterval(timer))
      })
      return socket
    })
  },
  'http-slow': {
    what: '300 requests whose headers or bodies come a byte every half second',
    isPaced: true,
    run: (ground) => {
      let index = 0
      ground.keep(300, () => {
        const bytes = index++ % 2 === 0 ? Buffer.from(`GET /vital-data HTTP/1.1\r\nHost: ${'a'.repeat(500)}\r\n`) : Buffer.alloc(500, ' ')
        let sent = 0
        const socket = ground.open(ground.settings.httpPort, () => {
          if (bytes[0] === 32) {
            socket.write(post(ground, Buffer.alloc(0)).toString().replace('Content-Length: 0', 'Content-Length: 500'))
          }
        })
        const timer = setInterval(() => { socket.write(bytes.subarray(sent, ++sent)) }, 500)
        return socket.on('close', () => clearInterval(timer))
      })
    }
  },
  'http-headers': {
    what: '200 requests a second with headers of 64 KiB, or of 2,000 names',
    isPaced: true,
    run: (ground) => http(ground, 200, () => Buffer.from(`GET /vital-data HTTP/1.1\r\nHost: a\r\n${
      ground.attempts % 2 === 0
        ? `X-A: ${'a'.repeat(65_536)}\r\n`
        : Array.from({ length: 2000 }, (_, name) => `X-${name}: a\r\n`).join('')}\r\n`))
  },
  'http-bodies': {
    what: '100 POSTs a second of deep, wide and broken JSON, some of 200 KiB',
    isPaced: true,
    run: (ground) => http(ground, 100, () => post(ground,
      ground.attempts % 8 === 7 ? Buffer.alloc(200 * 1024, '[') : HOSTILE[ground.attempts % 7]!))
  },
  'http-compressed': {
    what: '200 POSTs a second that unpack to 10 MB',
    isPaced: true,
    run: (ground) => {
      const bomb = deflateSync(Buffer.alloc(10_000_000, ' '))
      http(ground, 200, () => post(ground, bomb, 'Content-Encoding: deflate\r\n'))
    }
  },
  'http-smuggling': {
    what: '300 requests a second with two lengths, or a length and chunks',
    isPaced: true,
    run: (ground) => http(ground, 300, () => {
      const second = ground.attempts % 2 === 0 ? 'Content-Length: 40' : 'Transfer-Encoding: chunked'
      return Buffer.from(`POST /vital-data HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n${second}\r\n\r\n` +
        '0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n')
    })
  },
  'http-pipelining': {
    what: '50 connections a second of 1,000 requests that wait for no answer',
    isPaced: true,
    run: (ground) => http(ground, 50, () => Buffer.from('GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1000)))
  },
  'http-tokens': {
    what: '300 requests a second with tokens of alg none, and keys that do not exist',
    isPaced: true,
    run: (ground) => {
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
      const forged = `${part({ alg: 'none', typ: 'at+jwt' })}.${part({ sub: ground.settings.victim, exp: 9e9 })}.`
      http(ground, 300,
        () => Buffer.from('GET /vital-data HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ' +
          `${ground.attempts % 2 === 0 ? forged : `vg_${randomBytes(32).toString('base64url')}`}\r\n\r\n`))
    }
  },
  'ws-frames': {
    what: '200 upgrades a second with frames that are unmasked, endless or noise behind them',
    isPaced: true,
    run: (ground) => http(ground, 200, () => Buffer.concat([
      Buffer.from(UPGRADE), [
        Buffer.from([0x82, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0]), Buffer.from([0x82, 5, 1, 2, 3, 4, 5]), randomBytes(512)
      ][ground.attempts % 3]!
    ]))
  },
  'ws-silence': {
    what: '500 upgrades that say nothing',
    isPaced: true,
    run: (ground) => ground.keep(500, () => {
      const socket = ground.open(ground.settings.httpPort, () => socket.write(UPGRADE))
      return socket
    })
  }
}
