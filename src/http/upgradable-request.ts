import { IncomingMessage } from 'node:http'
import { WEB_SOCKET_PATH } from '../../broker/listen/web-socket.ts'

/**
 * A request that asks for an upgrade gets it only where that is a WebSocket at our path. Node would hand over every
 * request that has an `Upgrade` header, and its connection would be closed. Other upgrades may be ignored (RFC 9110
 * §7.8), and Java's HttpClient, for one, asks for HTTP/2 in this way with every first POST.
 */
export class UpgradableRequest extends IncomingMessage {
  declare private asksForUpgrade: boolean | null

  get upgrade (): boolean | null {
    if (this.asksForUpgrade !== true) return this.asksForUpgrade
    return this.url?.split('?', 1)[0] === WEB_SOCKET_PATH && this.headers.upgrade?.toLowerCase() === 'websocket'
  }

  set upgrade (asked: boolean | null) {
    this.asksForUpgrade = asked
  }
}
