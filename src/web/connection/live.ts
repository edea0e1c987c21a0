import mqtt, { type MqttClient } from 'mqtt'
import { readSecret } from './api.ts'

const KEEPALIVE_S = 60
const RECONNECT_MS = 2000
/** During scrolling rows come and go too fast to subscribe to each. */
const FOLLOW_DELAY_MS = 150
/** Far below the gateway's limit for a client, and more rows than a large screen has. */
const FOLLOWED_MAX = 100

export interface LiveEvents {
  readonly onMessage: (topic: string, payload: Uint8Array) => void
  readonly onConnect: () => void
  /** @param reason - `null` where none was given */
  readonly onDisconnect: (reason: string | null) => void
  readonly onRefusedSubscription: (reason: string) => void
}

/**
 * MQTT over the WebSocket of the page's own origin, for the devices in view. What changes in all others comes from
 * `changes.ts`, and nothing from `GET /events`, which is for applications. The client id is random for each load of the
 * page: a duplicated tab has the same sessionStorage, and two clients of one id would close each other for ever. It speaks
 * MQTT 3.1.1, and MQTT 5 where the page is opened with `?mqtt=5`.
 */
export function createLive ({ onMessage, onConnect, onDisconnect, onRefusedSubscription }: LiveEvents) {
  let client: MqttClient | null = null
  let wanted: ReadonlySet<string> = new Set()
  /** Devices whose topics this connection has subscribed to. */
  let followed = new Set<string>()
  let timer: ReturnType<typeof setTimeout> | undefined

  function connect (username: string | null): void {
    if (client !== null) return
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const secret = readSecret()
    const protocolVersion = new URLSearchParams(location.search).get('mqtt') === '5' ? 5 : 4
    const opened = mqtt.connect(`${scheme}://${location.host}/mqtt`, {
      clientId: `page-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`,
      ...(secret === null || username === null ? {} : { username, password: secret }),
      protocolVersion,
      keepalive: KEEPALIVE_S,
      reconnectPeriod: RECONNECT_MS,
      // The reason why a CONNECT is refused may pass. A secret that is no longer valid ends the page's session by HTTP.
      reconnectOnConnackError: true,
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
    // Only in MQTT 5; in 3.1.1 the gateway closes without a reason.
    opened.on('disconnect', ({ reasonCode = 0, properties }) => { tell(properties?.reasonString ?? toReason(reasonCode)) })
    opened.on('close', () => { tell(null) })
    opened.on('error', (error) => { tell(error.message) })

    function tell (reason: string | null): void {
      if (client === opened) onDisconnect(reason)
    }
  }

  /** Subscribes to the topics that are wanted now, and unsubscribes from the others. */
  function subscribe (): void {
    if (client?.connected !== true) return
    const left = [...followed].filter((id) => !wanted.has(id))
    const added = [...wanted].filter((id) => !followed.has(id))
    followed = new Set(wanted)
    if (left.length > 0) client.unsubscribe(left.map(toTopic))
    if (added.length === 0) return
    client.subscribe(added.map(toTopic), { qos: 0 }, (error, _granted, packet) => {
      const refused = packet?.granted.map(Number).find((code) => code >= REFUSED)
      if (error && refused !== undefined) onRefusedSubscription(packet?.properties?.reasonString ?? toReason(refused))
    })
  }

  /** From now on only the readings of these devices come. */
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

/** Reason codes from here on refuse. */
const REFUSED = 0x80

const toReason = (code: number): string => (mqtt.ReasonCodes as Readonly<Record<number, string>>)[code] ?? `reason code ${code}`

const toTopic = (id: string): string => `vital/${id}`
