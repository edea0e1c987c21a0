import mqtt, { type MqttClient } from 'mqtt'
import { readSecret } from './api.ts'

const KEEPALIVE_S = 60
const RECONNECT_MS = 2000

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
      opened.subscribe(['vital/+', 'vital/+/rejected'], { qos: 0 })
      onConnect()
    })
    opened.on('message', onMessage)
    opened.on('close', () => { if (client === opened) onDisconnect('The connection to the broker is closed.') })
    opened.on('error', (error) => { if (client === opened) onDisconnect(error.message) })
  }

  function disconnect (): void {
    const closing = client
    client = null
    closing?.end(true)
  }

  return { connect, disconnect }
}
