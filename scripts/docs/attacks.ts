import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Section, toMarkdownTable } from './markdown.ts'

interface Attack {
  readonly name: string
  /** What the gateway does. */
  readonly answer: string
  /** Titles of tests, or their beginnings. */
  readonly tests: readonly string[]
}

const ATTACKS: readonly Attack[] = [
  {
    name: 'slow CONNECT, a byte at a time',
    answer: 'closed `connectTimeoutMs` after its first byte, however many came',
    tests: ['a CONNECT that trickles in, is huge or has no end']
  }, {
    name: 'connection flood',
    answer: 'an address has a share; beyond the rate connections wait, and turns go round by address, so others ' +
      'are served; until its first byte each costs a socket and a timer',
    tests: [
      'an address has its share of the connections',
      'beyond the rate connections wait, and turns go round by address',
      'connections beyond the limit are closed and logged',
      'a silent connection is closed'
    ]
  }, {
    name: 'reconnect storm of a fleet, publishes behind each CONNECT',
    answer: 'all are served in turn; nothing is lost or acknowledged early',
    tests: ['every client of a reconnect storm is served', '5,000 publishes in one write with CONNECT wait for a slow authentication']
  }, {
    name: 'huge or endless lengths',
    answer: 'closed at the header, before the body; 16 KiB until CONNECT is complete',
    tests: ['a CONNECT that trickles in, is huge or has no end']
  }, {
    name: 'publishing as another device',
    answer: 'closed; publishes before are acknowledged, packets behind are ignored',
    tests: [
      'a device publishes on its own topic only', 'publishes before one that is not allowed are acknowledged, packets behind it are ignored'
    ]
  }, {
    name: 'subscribing to another device',
    answer: '0x80 for every filter but its own `…/rejected`',
    tests: ['a device subscribes to its own rejections only']
  }, {
    name: 'a packet that Aedes parses and cannot encode again (will QoS 3, retained)',
    answer: 'closed, before credentials are checked; no subscriber is affected',
    tests: ['a packet that breaks a rule closes the connection']
  }, {
    name: 'a will on the topic of another device',
    answer: 'CONNACK 5',
    tests: ['a will is held to the same rules as a publish']
  }, {
    name: 'an id that widens a topic (`+`, `#`, `a/b`)',
    answer: 'CONNACK 5, whatever credential names it',
    tests: ['an application is refused over MQTT, and so is a principal whose id would widen its topic']
  }, {
    name: 'takeover of a connection or session',
    answer: 'CONNACK 5 as for a wrong password; the other connection is not affected',
    tests: [
      'another principal can neither take over a connection nor resume a session',
      'of two principals that ask for one client id at once, one gets it'
    ]
  }, {
    name: 'occupying the client id of a device',
    answer: 'the device gets it, and nothing of the session that was there',
    tests: ['a device gets the client id that is its own']
  }, {
    name: 'what is left from the open mode, or from a role that was taken away',
    answer: 'subscriptions, queue and packet ids go with it',
    tests: [
      'sessions from the open mode are discarded, packet ids included',
      'a principal that loses its role loses subscriptions and queue'
    ]
  }, {
    name: 'staying after revocation or expiry',
    answer: 'closed, a login under way included; the will is not published',
    tests: ['disconnect closes the principals it names', 'a connection ends when its credentials expire']
  }, {
    name: 'guessing of passwords',
    answer: 'refusals are delayed, longer with each; right credentials never are, so no device is locked out; ' +
      'after 20 wrong passwords those of the address are checked with what others leave of the processor',
    tests: [
      'refusals of one', 'checks take turns by address', 'guesses of one address are checked one at a time'
    ]
  }, {
    name: 'finding out which devices exist',
    answer: 'one answer for a device that is connected, absent or unknown',
    tests: [
      'a connected device cannot be distinguished from one that does not exist',
      'a refused takeover looks and costs like a wrong password'
    ]
  }, {
    name: 'two clients that take over from each other',
    answer: 'each takeover waits longer',
    tests: ['two clients that share an id are slowed']
  }, {
    name: 'flood of publishes, pings or subscriptions',
    answer: 'its socket is read more slowly; nothing is dropped, others are served',
    tests: [
      'a device that sends too fast is read more slowly and loses nothing',
      'a flood of pings or subscriptions is slowed too'
    ]
  }, {
    name: 'silent connections',
    answer: 'closed after 1.5 times their keepalive, which counts as an hour at most',
    tests: ['a silent client is closed, whatever keepalive it asked for']
  }, {
    name: 'subscription bombs (`+/+/+/…`)',
    answer: '0x80 beyond 100 levels, 1,000 filters a client, half a million levels in all',
    tests: ['subscription bombs']
  }, {
    name: 'long and deep topics',
    answer: 'closed; below `vital/` a dead letter',
    tests: ['long and deep topics that are relayed close the connection']
  }, {
    name: 'retained storm',
    answer: 'delivered, not retained beyond messages or bytes',
    tests: ['retained messages are bounded in number and in bytes, and logged']
  }, {
    name: 'sessions that stay away',
    answer: 'bounded each and together; they expire',
    tests: [
      'one absent session cannot fill the memory that all share',
      'queues share a bound in bytes',
      'a session expires, a connected one does not'
    ]
  }, {
    name: 'half-open QoS 2',
    answer: 'closed beyond the bound; ids survive a reconnect, payloads are not kept',
    tests: ['half-open QoS 2 publishes are bounded per client']
  }, {
    name: 'a subscriber that does not read',
    answer: 'further deliveries to it are dropped, then it is closed; publishers do not wait',
    tests: ['sessions and a subscriber that does not read']
  }, {
    name: '`$SYS` spoofing',
    answer: 'closed; a will gets CONNACK 5, unless it is a bridge\'s, which is dropped; subscribers get only ' +
      '`$SYS/broker/…` of the gateway',
    tests: ['wills on reserved, long or deep topics are refused at CONNECT', 'a device publishes on its own topic only']
  }, {
    name: '`__proto__` as client id, topic or filter',
    answer: 'a name like any other; no device may have it',
    tests: ['the open mode allows everything, and a device named __proto__ does no harm']
  }, {
    name: 'random and mutated bytes',
    answer: 'the process lives, a well-behaved client is served throughout',
    tests: ['no input ends the process, and a well-behaved client is served throughout']
  }, {
    name: 'deep JSON, tens of thousands of levels',
    answer: 'a dead letter, or 400; levels are bounded at 32, and nothing recurses before the depth is known; more ' +
      'than 512 are not parsed',
    tests: [
      'hostile payloads over MQTT are acknowledged',
      'JSON that is deep, wide, or uses names of Object.prototype'
    ]
  }, {
    name: '`__proto__` and `constructor` in a payload, escaped and nested, in query, path and headers',
    answer: 'a dead letter, or 400; no object inherits anything',
    tests: [
      'hostile payloads over MQTT are acknowledged',
      'JSON that is deep, wide, or uses names of Object.prototype'
    ]
  }, {
    name: 'new names, or large values, in every reading',
    answer: '1,000 names in a reading; beyond 32 KiB the latest state of a device keeps its newest fields, its ' +
      'readings are all kept',
    tests: ['the latest state of a device that invents field names is bounded, and so are its batches']
  }, {
    name: 'invalid UTF-8, half surrogates, null, numbers of 200,000 digits, arrays of 1,001',
    answer: 'dead letters',
    tests: ['hostile payloads over MQTT are acknowledged']
  }, {
    name: 'HTTP: slow headers and bodies',
    answer: '408 after 10 s and 30 s, however they trickle; others are served',
    tests: [
      'hundreds of slow headers and slow bodies delay no other request',
      'a trickle of bytes does not extend the time-out of a request'
    ]
  }, {
    name: 'HTTP: header bombs, endless chunk extensions',
    answer: '431, 400',
    tests: ['header bombs']
  }, {
    name: 'HTTP: request smuggling (CL and TE, two lengths, odd chunks)',
    answer: '400 and closed; the smuggled request is not served',
    tests: ['requests that a proxy and the gateway could cut differently are refused']
  }, {
    name: 'HTTP: compressed bombs',
    answer: '415; nothing is unpacked',
    tests: ['compressed bodies are not unpacked']
  }, {
    name: 'HTTP: thousands of pipelined requests',
    answer: 'closed at the 33rd that waits for its answer',
    tests: ['thousands of pipelined requests']
  }, {
    name: 'all of it at random, over MQTT, HTTP and WebSocket',
    answer: '`npm run fuzz`: the process lives, memory and descriptors come back, the ledger balances, ' +
      'well-behaved clients are served and lose nothing',
    tests: ['a short run of the correct build, and of one with a planted bug']
  }, {
    name: 'TLS 1.0 and 1.1, plain bytes on a TLS port, resets in mid-handshake',
    answer: 'no handshake; other clients are not affected',
    tests: [
      'TLS 1.2 and 1.3 are accepted, older versions refused',
      'plain bytes on a TLS port, and a reset in mid-handshake, do not affect other clients'
    ]
  }, {
    name: 'slow or endless TLS handshakes',
    answer: 'closed after `handshakeTimeoutMs`; bounded in all and for one address; others are served',
    tests: [
      'a handshake that does not end is closed by a time-out',
      'handshakes under way are bounded',
      'an address has its share of the handshakes'
    ]
  }, {
    name: 'a client certificate of another authority of the same name, expired, or made for servers; a name ' +
      'smuggled into a name',
    answer: 'names no device: another credential is needed, or, with `VITAL_TLS_CLIENT_CERT_REQUIRED`, the ' +
      'handshake fails',
    tests: [
      'only a certificate of the authority authenticates a device',
      'a name within another name of the subject is not matched'
    ]
  }, {
    name: 'WebSocket: text, unmasked, fragmented, reserved, oversized or endless frames, noise',
    answer: 'closed with 1002, 1003, 1008 or 1009, before CONNECT is parsed; before the first answer at most 80 ' +
      'KiB of a frame are held',
    tests: [
      'broken and foreign frames close the connection, and none of their bytes are used',
      'packets may span fragments and frames, with pings between, byte by byte'
    ]
  }, {
    name: 'WebSocket: compression bombs',
    answer: 'compression is never agreed to',
    tests: ['compression is not negotiated']
  }, {
    name: 'WebSocket: pings without end while no pong is read, deliveries that are not read',
    answer: 'closed; deliveries are dropped as over TCP',
    tests: [
      'a client that sends pings and reads no pongs takes no memory',
      'a subscriber that does not read is bounded as over TCP'
    ]
  }, {
    name: 'WebSocket: upgrade and silence',
    answer: 'closed after `connectTimeoutMs`',
    tests: ['a connection that upgrades and then sends nothing is closed']
  }, {
    name: 'upgrade on other paths, to other protocols, or without the subprotocol',
    answer: '404 or 400; requests that merely offer HTTP/2 are served as they are',
    tests: ['only /mqtt with the subprotocol is a WebSocket; other upgrade requests are plain requests']
  }, {
    name: 'a web page that opens a WebSocket to this machine, DNS rebinding included',
    answer: '403, unless its origin is listed or is this very address',
    tests: ['a page of a foreign origin may not connect']
  }, {
    name: 'PROXY header of an untrusted peer',
    answer: 'closed as a packet that is not MQTT; the address stays that of the peer',
    tests: ['a PROXY header from any other address is refused']
  }, {
    name: 'PROXY header that is missing, endless, slow or malformed, from a trusted proxy',
    answer: 'closed after 107 bytes (4 KiB in version 2), or `proxyHeaderTimeoutMs`',
    tests: ['a trusted proxy must send the header, in time and of bounded length', 'headers of both versions']
  }, {
    name: '`X-Forwarded-For` spoofed',
    answer: 'believed from trusted proxies only, read from the right, up to the first address of another host',
    tests: ['X-Forwarded-For is used from trusted proxies only, and only the part that they have written']
  }
]

/** Every attack that has a test, with what the gateway does. Tests are found by their titles, so that they may move. */
export function attacksSections (root: string): Section[] {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => ({ path: `test/${path}`, text: readFileSync(join(root, 'test', path), 'utf8') }))
  const rows = ATTACKS.map(({ name, answer, tests }) => [name, answer, tests.map((title) => linkTest(title,
    files)).join(', ')])
  return [{
    file: 'broker/README.md',
    name: 'attacks',
    text: toMarkdownTable(['attack', 'what happens', 'test'],
      rows)
  }]
}

function linkTest (title: string, files: ReadonlyArray<{ readonly path: string, readonly text: string }>): string {
  const found = files.filter(({ text }) => ['\'', '"', '`'].some((quote) => text.includes(`t.test(${quote}${title}`)))
  if (found.length !== 1) {
    throw new Error(`${found.length} test files have a test "${title}", which scripts/docs/attacks.ts names; it must be one`)
  }
  return `[${title}](../${found[0]!.path})`
}
