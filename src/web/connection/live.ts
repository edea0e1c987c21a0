import mqtt, { type MqttClient } from 'mqtt'
import { readSecret } from './api.ts'

const KEEPALIVE_S = 60
const RECONNECT_MS = 2000
/** While one scrolls, rows come and go faster than it is worth to ask for them. */
const FOLLOW_DELAY_MS = 150
/** Far below what the gateway allows a client, and more rows than a large screen has. */
const FOLLOWED_MAX = 100

export interface LiveEvents {
  readonly onMessage: (topic: string, payload: Uint8Array) => void
  readonly onConnect: () => void
  readonly onDisconnect: (reason: string) => void
}

/**
 * MQTT over the WebSocket of the page's own origin. The client id is random for each load of the page: a duplicated tab
 * has the same sessionStorage, and two clients of one id would close each other for ever.
 */
export function createLive ({ onMessage, onConnect, onDisconnect }: LiveEvents) {
  let client: MqttClient | null = null
  let wanted: ReadonlySet<string> = new Set()
  /** Of this connection. */
  let followed = new Set<string>()
  let timer: ReturnType<typeof setTimeout> | undefined

  function connect (username: string | null): void {
    if (client !== null) return
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const secret = readSecret()
    const opened = mqtt.connect(`${scheme}://${location.host}/mqtt`, {
      clientId: `page-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`,
      ...(secret === null || username === null ? {} : { username, password: secret }),
      keepalive: KEEPALIVE_S,
      reconnectPeriod: RECONNECT_MS,
      resubscribe: false,
      // A timer in a worker needs a blob: URL, which the page's policy refuses; without a ping the gateway would close.
      timerVariant: 'native'
    })
    client = opened
    opened.on('connect', () => {
      followed = new Set()
      subscribe()
      onConnect()
    })
    opened.on('message', onMessage)
    opened.on('close', () => { if (client === opened) onDisconnect('The connection to the broker is closed.') })
    opened.on('error', (error) => { if (client === opened) onDisconnect(error.message) })
  }

  /** Brings the subscriptions of this connection to what is wanted now. */
  function subscribe (): void {
    if (client?.connected !== true) return
    const left = [...followed].filter((id) => !wanted.has(id))
    const added = [...wanted].filter((id) => !followed.has(id))
    followed = new Set(wanted)
    if (left.length > 0) client.unsubscribe(left.map(toTopic))
    if (added.length > 0) client.subscribe(added.map(toTopic), { qos: 0 })
  }

  /** From now on the readings of these devices come, and of no other. */
  function follow (ids: readonly string[]): void {
    wanted = new Set(ids.slice(0, FOLLOWED_MAX))
    clearTimeout(timer)
    timer = setTimeout(subscribe, FOLLOW_DELAY_MS)
  }

  function disconnect (): void {
    const closing = client
    client = null
    closing?.end(true)
  }

  return { connect, disconnect, follow }
}

const toTopic = (id: string): string => `vital/${id}`
