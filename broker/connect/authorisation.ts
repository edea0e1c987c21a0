/**
 * What a principal may do, as pure functions. `null` stands for the open mode, in which no credentials exist and
 * every client may do everything.
 *
 * No answer reveals whether another principal exists: it depends only on the principal that asks.
 */
import { isPrincipalId, type Principal } from '../../schemas/principal.ts'
import type { LoginRefusal } from './login-refusals.ts'
import { rejectedTopic, vitalTopic } from '../topics.ts'

/** A topic that no PUBLISH can have [MQTT-4.7.3-1]. */
const NO_TOPIC = ''

/**
 * The one topic that `principal` may publish on, so that the check of a publish costs a comparison.
 * @returns `null` for any topic; {@link NO_TOPIC} for a principal that may publish on none
 */
export function publishTopicOf (principal: Principal | null): string | null {
  if (principal === null) return null
  return principal.role === 'device' ? vitalTopic(principal.id) : NO_TOPIC
}

/** Whether a topic filter may be subscribed to, and whether a topic of a session's queue may be delivered. */
export function maySubscribe (principal: Principal | null, filter: string): boolean {
  if (principal === null) return true
  switch (principal.role) {
    case 'device': return filter === rejectedTopic(principal.id)
    case 'operator':
    case 'admin': return true
    case 'application': return false
  }
}

/**
 * Decides on a client id, with its connection and session, that `principal` asks for and `holder` has. The same
 * principal resumes it. A device gets the id that is its own, and the holder loses connection and session. A session
 * of the open mode is discarded, and so is any session once the open mode has returned. Any other principal is
 * refused.
 */
export function claimOf (principal: Principal | null, holder: Principal | null): 'resume' | 'discard' | 'refuse' {
  if (principal?.id === holder?.id) return 'resume'
  // A device's client id is its own: refusalOfConnect has checked it.
  return principal === null || holder === null || principal.role === 'device' ? 'discard' : 'refuse'
}

/**
 * Why `principal` may not connect with this client id and will; `null` when it may. An id with a wildcard in it would
 * turn a device's own topic into that of all devices, so it is checked here, however it was verified.
 */
export function refusalOfConnect (
  principal: Principal | null, clientId: string, will: { readonly topic: string } | undefined
): LoginRefusal | null {
  if (principal === null) return null
  if (!isPrincipalId(principal.id) || principal.role === 'application') return 'not_allowed'
  if (principal.role === 'device' && principal.id !== clientId) return 'wrong_client_id'
  return will === undefined || will.topic === publishTopicOf(principal) ? null : 'not_allowed'
}
