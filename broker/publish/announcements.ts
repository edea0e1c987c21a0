import type { Announcement, Rejection } from '../../schemas/rejection.ts'
import type { Cluster } from '../cluster.ts'
import type { FanOut, PublishedMessage } from '../deliver/fan-out.ts'
import { rejectedTopic } from '../topics.ts'

interface AnnouncementsOptions {
  /** `null`: this gateway stands alone. */
  readonly cluster: Pick<Cluster, 'claimAnnouncement'> | null
  readonly fanOut: FanOut
  /** Delivers to subscribers of this gateway alone. */
  readonly deliverHere: (message: PublishedMessage) => void
  readonly onRejected: (device: string, rejection: Rejection) => void
}

/** What subscribers of `vital/{device}/rejected` get. */
export function toRejectedMessage (device: string, rejection: Rejection): PublishedMessage {
  return { topic: rejectedTopic(device), payload: Buffer.from(JSON.stringify(rejection)), qos: 1, retain: false }
}

/**
 * Announces a refusal that came after the acknowledgement. Every gateway gets the announcement, and one of them
 * publishes it to the subscribers of all. Where Redis does not say which one, each publishes it to its own subscribers.
 */
export function createAnnouncements ({ cluster, fanOut, deliverHere, onRejected }: AnnouncementsOptions) {
  return ({ id, device, rejection }: Announcement): void => {
    onRejected(device, rejection)
    const message = toRejectedMessage(device, rejection)
    if (cluster === null) return fanOut(message)
    cluster.claimAnnouncement(id).then((claim) => {
      if (claim === 'granted') fanOut(message)
      else if (claim === 'unknown') deliverHere(message)
    }, () => {})
  }
}
