import { quote, toQuotedJson } from './shell.ts'
import { state } from './store.ts'

function toBroker (id: string): string {
  const { mqtt, principal } = state.config ?? { mqtt: null, principal: null }
  const isSecure = location.protocol === 'https:' && mqtt?.securePort != null
  const port = isSecure ? mqtt.securePort : mqtt?.port ?? 1883
  const tls = isSecure ? ' --cafile ca.crt' : ''
  const login = principal === null ? '' : ` -i ${quote(id)} -u ${quote(id)} -P "$SECRET"`
  return `-h ${location.hostname.replace(/^\[|\]$/g, '')} -p ${port}${tls}${login}`
}

/** Publishes one reading as a device. */
export const toPublishLine = (id: string): string =>
  `mosquitto_pub ${toBroker(id)} -t ${quote(`vital/${id}`)} -q 1` +
  ' \\\n  -m "{\\"timestamp\\":$(date +%s),\\"heartRateValue\\":72,\\"spo2Value\\":97}"'

/** Subscribes to the readings of a device, and to its rejections. */
export const toSubscribeLine = (id: string): string => {
  const { principal } = state.config ?? { principal: null }
  const broker = toBroker(principal?.id ?? id)
  return `mosquitto_sub ${broker} -v \\\n  -t ${quote(`vital/${id}`)} -t ${quote(`vital/${id}/rejected`)}`
}

/** Sends one reading over HTTP. */
export function toCurlLine (id: string): string {
  const login = state.config?.principal == null ? '' : ' \\\n  -H "authorization: Bearer $SECRET"'
  return `curl -i ${location.origin}/vital-data \\\n  -H 'content-type: application/json'${login} \\\n  -d ` +
    `"{\\"device\\":\\"${toQuotedJson(id)}\\",\\"timestamp\\":$(date +%s),\\"heartRateValue\\":72}"`
}
