/** A partition as the group assigns it. */
export interface Assigned {
  readonly topicId: string
  readonly partition: number
}

/** The same, with the name of its topic. */
export interface Place extends Assigned {
  readonly topic: string
}

/** Key of a partition in a map. */
export const toKey = ({ topicId, partition }: Assigned) => `${topicId} ${partition}`
