/** A partition as the group assigns it. */
export interface Assigned {
  readonly topicId: string
  readonly partition: number
}

/** The same with the name that its topic has. */
export interface Place extends Assigned {
  readonly topic: string
}

/** Names a partition in a map. */
export const toKey = ({ topicId, partition }: Assigned) => `${topicId} ${partition}`
