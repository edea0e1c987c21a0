/** The result of one comparison. `explained`: there is a difference, and a reason for all of it. */
export interface Finding {
  readonly subject: string
  readonly status: 'ok' | 'explained' | 'wrong'
  /** Sentences for a person. */
  readonly text: string
}
