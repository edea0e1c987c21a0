/** Called for each answer; `messageId` is that of a PUBACK. */
export type OnAnswer = (messageId?: number) => void
